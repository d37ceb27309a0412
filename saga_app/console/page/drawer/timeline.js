// The timeline of one saga: each of its records in words, with its position in Kafka.

import { now } from "../core/clock.js";
import { h, icon, text } from "../core/dom.js";
import { factText } from "../core/facts.js";
import { clockMs, countdown, duration, plural } from "../core/format.js";
import { doneWords, isCompensation, plan, requestedWords, STATES, serviceLabel, stepTitle } from "../core/plan.js";
import { inUtc, when } from "../core/time.js";

/**
 * @typedef {object} EntryData which fields are set depends on the kind of record
 * @property {string | null} [reason]
 * @property {string | null} [by] the operator
 * @property {string | null} [started_at]
 * @property {string | null} [due_at]
 * @property {string | null} [next_at] when the step is retried; none after the last attempt
 * @property {number} [attempts] the limit of attempts
 * @property {number | null} [duration] of the whole saga, in seconds
 * @property {Record<string, unknown>} [facts] the result of the step
 */

/** @typedef {Omit<TraceEntry, "data"> & { data?: EntryData }} Entry */

/** The topic of signals about a saga, sent by a service or an operator. */
const SIGNALS = "saga-signals";

/** @type {Record<string, { icon: string, meaning: string }>} */
const KINDS = {
  requested: { icon: "running", meaning: "quiet" },
  done: { icon: "check", meaning: "done" },
  denied: { icon: "back", meaning: "undone" },
  failed: { icon: "retry", meaning: "trouble" },
  parked: { icon: "pause", meaning: "trouble" },
  overdue: { icon: "late", meaning: "trouble" },
  redriven: { icon: "retry", meaning: "working" },
  cancelled: { icon: "back", meaning: "undone" },
};

/** @param {TraceEntry[]} entries in causal order */
export function timeline(entries) {
  const first = entries.length ? Date.parse(entries[0].at) : 0;
  return h(
    "ol",
    { class: "timeline" },
    entries.map((entry) => line(entry, first)),
  );
}

/** Which records are missing, and where they were searched; "" if none. @param {Timeline["searched"]} searched */
export function notFound({ around_s: around, records, missing }) {
  if (!missing.length) return "";
  const where = around == null ? "its whole partition" : `${duration(around)} before and after each step`;
  return `Not found: a record on ${missing.join(", ")}. Searched ${where} (${plural(records, "record")}).`;
}

/** Update the countdowns to the next attempts. @param {HTMLElement} element @param {number} now in ms, server time */
export function tick(element, now) {
  const countdowns = /** @type {NodeListOf<HTMLElement>} */ (element.querySelectorAll("[data-next]"));
  for (const each of countdowns) text(each, nextTry(each.dataset.next ?? "", now));
}

/** @param {string} at @param {number} now */
function nextTry(at, now) {
  const wait = (Date.parse(at) - now) / 1000;
  return wait > 0 ? `retries in ${countdown(wait)}` : `retried at ${clockMs(at)}`;
}

/** @param {Entry} entry @param {number} first when the first record was written, in ms */
function line(entry, first) {
  const kind = KINDS[entry.kind] ?? STATES[entry.kind] ?? { icon: "running", meaning: "quiet" };
  const words = saying(entry);
  return h(
    "li",
    { "data-meaning": kind.meaning, "data-kind": entry.kind },
    h("span", { class: "badge" }, icon(kind.icon)),
    h(
      "div",
      { class: "entry" },
      h("p", { class: "what" }, h("b", {}, words.title), h("span", { class: "spent" }, words.spent)),
      words.detail.length ? h("p", { class: "detail" }, separated(words.detail)) : null,
      h(
        "div",
        { class: "when" },
        when(entry.at, clockMs),
        inUtc(entry.at, "time"),
        h("span", {}, `+${duration((Date.parse(entry.at) - first) / 1000)}`),
        isOperators(entry) ? null : h("span", {}, serviceLabel(entry.service)),
        raw(entry),
      ),
    ),
  );
}

/** Whether an operator, not a service, sent the record. @param {Pick<Entry, "topic" | "kind">} entry */
const isOperators = ({ topic, kind }) => topic === SIGNALS && (kind === "redriven" || kind === "cancelled");

/** Put a dot between the parts. @param {(string | Element)[]} parts */
const separated = (parts) => parts.flatMap((part, place) => (place ? [" · ", part] : [part]));

/** @param {Entry} entry */
function saying(entry) {
  return { title: title(entry), spent: spent(entry), detail: detail(entry) };
}

/** @param {Entry} entry */
function title({ step, kind, attempt, topic, data = {} }) {
  /** @type {Record<string, string | undefined>} */
  const words = {
    requested: requestedWords(step),
    done: doneWords(step, !(data.reason && isCompensation(step))),
    denied: `${stepTitle(step)} denied`,
    failed: data.next_at ? `${stepTitle(step)}: attempt ${attempt} failed` : `${stepTitle(step)} failed permanently`,
    parked: `Parked at ${step} after ${plural(attempt, "attempt")}`,
    overdue: `Overdue at ${step}`,
    redriven: `Redriven by ${operator(data)}`,
    cancelled: isOperators({ topic, kind }) ? `Cancelled by ${operator(data)}` : `${stepTitle(step)} cancelled`,
  };
  return words[kind] ?? `Saga ${(STATES[kind]?.label ?? kind).toLowerCase()}`;
}

/** @param {EntryData} data */
const operator = ({ by }) => by ?? "an operator";

/** The duration of a step; for the last record, the duration of the whole saga. @param {Entry} entry */
function spent({ kind, at, data = {} }) {
  if (kind === "done" || kind === "denied")
    return data.started_at ? duration((Date.parse(at) - Date.parse(data.started_at)) / 1000) : "";
  return typeof data.duration === "number" ? duration(data.duration) : "";
}

/** @param {Entry} entry */
function detail({ kind, step, service, attempt, data = {} }) {
  if (kind === "failed" && data.next_at) return [again(service, attempt, data.next_at, data)];
  /** @type {(string | Element)[]} */
  const parts = [];
  if (data.reason) parts.push(data.reason);
  if (kind === "overdue" && data.due_at)
    parts.push(h("span", {}, "missed its deadline at ", when(data.due_at, clockMs)));
  if (kind === "redriven") parts.push(`sent to ${step} again`);
  if (kind === "done") parts.push(...facts(step, data));
  if (kind === "done" && attempt > 1) parts.push(`on attempt ${attempt}`);
  return parts;
}

/**
 * The fact that a step has found out; without a time, which the record has as well.
 * @param {string} name
 * @param {EntryData} data
 */
function facts(name, data) {
  const step = plan.steps.find((each) => each.name === name);
  const found = step && step.fact_shown_as !== "time" ? factText(step, data.facts) : "";
  return found ? [found] : [];
}

/**
 * "The Authorizer retries in 8 s (attempt 3 of 5): policy service timed out"
 * @param {string} service @param {number} attempt @param {string} at @param {EntryData} data
 */
function again(service, attempt, at, { attempts, reason }) {
  const next = `(attempt ${attempt + 1} of ${attempts})`;
  const when = h("span", { "data-next": at }, nextTry(at, now()));
  return h("span", {}, `The ${serviceLabel(service)} `, when, ` ${next}${reason ? `: ${reason}` : ""}`);
}

/** The record as JSON, collapsed under its position. @param {Entry} entry */
function raw(entry) {
  const proof = `${entry.topic}[${entry.partition}]@${entry.offset}`;
  const details = h(
    "details",
    { "data-key": `${proof}${entry.kind}` },
    h("summary", {}, h("span", { class: "mono" }, proof)),
  );
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1)
      details.append(h("pre", { tabindex: "0" }, JSON.stringify(entry, null, 2)));
  });
  return details;
}
