// The details of one dead letter: the original message, its headers, its position in Kafka, and the actions on it.

import { sagaAddress } from "../core/address.js";
import { api, Problem } from "../core/api.js";
import { h, icon } from "../core/dom.js";
import { clockMs, plural } from "../core/format.js";
import { by, nothingSent, signed } from "../core/operator.js";
import { serviceLabel } from "../core/plan.js";
import { complaint, retryButton } from "../core/problem_box.js";
import { inUtc, when } from "../core/time.js";
import { ask } from "./confirm.js";
import { hexdump, pretty } from "./hexdump.js";

/** @typedef {(sentence: string) => void} Said shows the outcome of an action */

/** The header that holds the failure; not listed, because `facts` shows its contents. */
const DEAD_LETTER = "dead-letter";

/** @param {DeadLetterItem} item @param {Said} said */
export function letter(item, said) {
  const message = h("div", { class: "message-of" }, h("div", { class: "skeleton", "aria-hidden": "true" }));
  const answer = h("div", { class: "letter-answer" });
  const element = h("div", { class: "letter" }, facts(item), buttons(item, said, answer), answer, message);
  const load = () =>
    api.letter(item).then(
      (full) => message.replaceChildren(...contents(full)),
      (problem) => message.replaceChildren(broken(problem, again())),
    );
  const again = () => h("button", { type: "button", onclick: load }, "Try again");
  load();
  return element;
}

/** @param {DeadLetterItem} item */
function facts(item) {
  const saga = item.id
    ? h("a", { class: "mono", href: sagaAddress(item.id) }, item.id)
    : "unknown: the message cannot be read";
  return h(
    "dl",
    { class: "facts" },
    Object.entries({
      Error: `${item.error}: ${item.reason}`,
      Saga: saga,
      Step: `${item.step} (${serviceLabel(item.service)})`,
      "Original record": h("span", { class: "mono" }, item.name),
      Attempts: plural(item.attempts, "attempt"),
      Parked: h("span", {}, when(item.at, clockMs), inUtc(item.at)),
      ...(item.original_bytes != null && { Truncated: cut(item.kept_bytes ?? 0, item.original_bytes) }),
    }).map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))),
  );
}

/** @param {number} kept @param {number} all */
const cut = (kept, all) =>
  `${kept.toLocaleString("en")} of ${all.toLocaleString("en")} bytes are stored; a redrive uses the original record.`;

/** @param {DeadLetterItem} item @param {Said} said @param {HTMLElement} answer for errors */
function buttons(item, said, answer) {
  const redrive = h("button", { type: "button" }, icon("retry"), "Redrive");
  redrive.addEventListener("click", () => one(item, redrive, said, answer));
  const rollback = h("button", { type: "button", onclick: () => back(item, said) }, icon("back"), "Roll back…");
  const only = h("p", { class: "hint" }, "The saga of this message is not known, so the message can only be redriven.");
  return h("div", { class: "actions" }, redrive, item.readable ? rollback : only);
}

/**
 * Redrive one message. The button stays enabled during the request: a disabled button would lose the focus.
 * @param {DeadLetterItem} item @param {HTMLButtonElement} button @param {Said} said @param {HTMLElement} answer
 */
async function one(item, button, said, answer, isRepeat = false) {
  if (button.ariaBusy === "true") return;
  const retry = () => one(item, button, said, answer, true);
  button.ariaBusy = "true";
  if (answer.contains(document.activeElement)) button.focus();
  answer.replaceChildren();
  try {
    const { count, left_out: reasons } = await api.intervene("redrive", { ids: [item.name], ...by() });
    said(count ? `${item.name} redriven${signed()}.` : `${item.name}: ${nothingSent(reasons, isRepeat)}`);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    answer.replaceChildren(broken(problem, retryButton(problem, retry)));
  } finally {
    button.ariaBusy = "false";
  }
}

/** @param {DeadLetterItem} item @param {Said} said */
async function back({ id }, said) {
  if (id === null) return;
  const title = () => `Roll back the saga ${id}?`;
  const sentence = await ask({ intent: "rollback", title, ids: [id], what: `The saga ${id}` });
  if (sentence) said(sentence);
}

/** @param {Problem} problem @param {HTMLButtonElement | null} again */
function broken(problem, again = null) {
  return h("div", { class: "broken", role: "alert" }, complaint(problem, undefined, again));
}

/** The message as indented JSON, text, or a hex dump, and its headers. @param {DeadLetterWhole} letter */
function contents({ value, value_base64: base64, headers = {} }) {
  const body =
    value != null
      ? block("Message", pretty(value))
      : base64
        ? block("Message (binary)", hexdump(base64))
        : [h("h3", {}, "Message"), h("p", { class: "hint" }, "The record has no value.")];
  const given = Object.entries(headers).filter(([name]) => name !== DEAD_LETTER);
  const list = given.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text ?? "–")));
  const heads = list.length
    ? h("dl", { class: "headers" }, list)
    : h("p", { class: "hint" }, "The record has no headers.");
  return [...body, h("h3", {}, "Headers"), heads];
}

/** @param {string} title @param {string} text */
const block = (title, text) => [
  h("h3", {}, title),
  h("pre", { tabindex: "0", role: "region", "aria-label": title }, text),
];
