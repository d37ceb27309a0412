// The timeline of one saga: every record that belongs to it, what it says, and where it stands in Kafka.

import { h, icon } from "./dom.js";
import { clockMs, duration, ordinal, sentence } from "./format.js";
import { ASK_WORDS, DONE_WORDS, STATES } from "./plan.js";

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

export function timeline(entries) {
  const first = entries.length ? Date.parse(entries[0].at) : 0;
  return h(
    "ol",
    { class: "timeline" },
    entries.map((entry) => line(entry, first)),
  );
}

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
      words.detail ? h("p", { class: "detail" }, words.detail) : null,
      h(
        "div",
        { class: "when" },
        h("time", { datetime: entry.at }, clockMs(entry.at)),
        h("span", {}, `+${duration((Date.parse(entry.at) - first) / 1000)}`),
        h("span", {}, sentence(entry.service)),
        raw(entry),
      ),
    ),
  );
}

function saying(entry) {
  const { step, kind, data = {} } = entry;
  const title = {
    requested: ASK_WORDS[step] ?? `${sentence(step)} is asked for`,
    done: DONE_WORDS[step] ?? `${sentence(step)} done`,
    denied: `${sentence(step)} denied`,
    failed: `${ordinal(entry.attempt)} attempt to ${step} failed`,
    parked: `Parked at ${step}, after ${entry.attempt === 1 ? "1 attempt" : `${entry.attempt} attempts`}`,
    overdue: `Overdue at ${step}`,
    redriven: `Sent again to ${step}`,
    cancelled: "Cancelled",
  }[kind];
  return {
    title: title ?? `Saga ${(STATES[kind]?.label ?? kind).toLowerCase()}`,
    spent: spent(entry),
    detail: detail(entry),
  };
}

/** How long it was worked on; for the ending, how long the whole saga took. */
function spent({ kind, at, data = {} }) {
  if (kind === "done" || kind === "denied")
    return data.started_at ? duration((Date.parse(at) - Date.parse(data.started_at)) / 1000) : "";
  return typeof data.duration === "number" ? duration(data.duration) : "";
}

function detail({ kind, step, attempt, data = {} }) {
  const parts = [];
  if (data.reason) parts.push(data.reason);
  if (kind === "failed" && data.next_at) parts.push(`next try at ${clockMs(data.next_at)}`);
  if (kind === "done" && step === "provision" && data.facts?.device_id) parts.push(data.facts.device_id);
  if (kind === "done" && step === "authorize" && data.facts?.authorizations)
    parts.push([data.facts.authorizations].flat().join(", "));
  if (kind === "done" && attempt > 1) parts.push(`at the ${ordinal(attempt)} attempt`);
  if (data.by) parts.push(`by ${data.by}`);
  return parts.join(" · ");
}

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
