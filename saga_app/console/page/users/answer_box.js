// The message box below the New User buttons: the outcome of the latest request.

import { sagaAddress } from "../core/address.js";
import { $, h, icon, show } from "../core/dom.js";
import { plural } from "../core/format.js";

/** @import { Problem } from "../core/api.js" */
/** @import { Submission } from "./submissions.js" */

const PROBLEMS_SHOWN = 6;
const STAYS_MS = 8000;
let timer = 0;

/** Show that `who` was accepted; with an id, linked to the saga. @param {string} who @param {string} [id] */
export function answer(who, id) {
  const subject = id ? h("a", { href: sagaAddress(id) }, h("bdi", {}, who)) : h("bdi", {}, who);
  put("accepted", icon("check"), h("p", {}, "Accepted: ", subject));
  timer = setTimeout(clear, STAYS_MS);
}

/** Show why a request failed. `placed`: the form already shows each error at its field. @param {Problem} problem */
export function refuse(problem, placed = false) {
  const title =
    problem.status === 503 && !problem.title ? "The broker is unavailable" : problem.title || "Not accepted";
  const lines = [h("strong", {}, title)];
  if (placed) lines.push(h("p", {}, "Nothing was sent. See the marked fields."));
  else if (problem.detail) lines.push(h("p", {}, problem.detail));
  const url = String(problem.body?.url ?? "").match(/\/sagas\/([^/?#]+)$/);
  if (url) lines.push(h("p", {}, h("a", { href: `#/sagas/${url[1]}` }, "Show the existing saga")));
  if (!placed && problem.errors.length) lines.push(list(problem.errors));
  put("refused", icon("warn"), h("div", {}, lines), dismiss());
}

/** Show the requests whose outcome is unknown or whose response is late. @param {Submission[]} submissions */
export function unanswered(submissions) {
  const focused = doubt.contains(document.activeElement);
  const unknown = submissions.filter((each) => each.isUnknown);
  doubt.replaceChildren(...(unknown.length ? doubtful(unknown) : submissions.length ? waiting(submissions) : []));
  show(doubt, submissions.length > 0);
  $("#new-answer").append(doubt);
  if (focused) (doubt.querySelector("button") ?? $("#new-user")).focus();
}

const doubt = h("div", { class: "message unknown", hidden: true });

/** @param {Submission[]} submissions with an unknown outcome, at least one */
function doubtful(submissions) {
  const retry = () => {
    for (const each of submissions) each.retryNow();
  };
  const stop = () => {
    for (const each of submissions) each.drop();
  };
  const problem = submissions.at(-1)?.problem;
  const lost = submissions.filter((each) => each.body === null);
  const next = lost.length
    ? `Choose ${names(lost)} again: users who were already accepted are not onboarded twice.`
    : "The same request is repeated until the outcome is known. No user is onboarded twice.";
  const words = h(
    "div",
    {},
    h(
      "strong",
      {},
      "It is not known whether ",
      names(submissions),
      submissions.length > 1 ? " were" : " was",
      " accepted.",
    ),
    h("p", {}, problem?.detail || `${problem?.title}.`),
    h("p", {}, next),
    h(
      "div",
      { class: "actions" },
      lost.length < submissions.length
        ? h("button", { type: "button", onclick: retry }, icon("retry"), "Retry now")
        : null,
      h("button", { type: "button", onclick: stop }, "Stop trying"),
    ),
  );
  return [icon("warn"), words];
}

/** @param {Submission[]} submissions */
const waiting = (submissions) => [
  icon("late"),
  h("div", {}, h("strong", {}, "No response yet"), h("p", {}, `Waiting for the response to ${names(submissions)}.`)),
];

/** @param {Submission[]} submissions */
const names = (submissions) => submissions.map((each) => `“${each.who}”`).join(", ");

/** @param {Problem["errors"]} errors */
function list(errors) {
  const more = errors.length - PROBLEMS_SHOWN;
  return h(
    "ul",
    {},
    errors.slice(0, PROBLEMS_SHOWN).map((error) => h("li", {}, `${place(error)}${error.message}`)),
    more > 0 ? h("li", {}, `and ${plural(more, "more problem")}`) : null,
  );
}

/** "line 9, email: " for a CSV file, else "entry 3, email: " (1-based). @param {Problem["errors"][number]} error */
function place({ index, line, field }) {
  const entry = line != null ? `line ${line}` : index != null ? `entry ${Number(index) + 1}` : "";
  const parts = [entry, field ?? ""].filter(Boolean);
  return parts.length ? `${parts.join(", ")}: ` : "";
}

const dismiss = () =>
  h("button", { type: "button", class: "quiet", "aria-label": "Dismiss", onclick: clear }, icon("close"));

const outcome = h("div", { class: "message", hidden: true });

/** @param {"accepted" | "refused"} kind @param {Element[]} children */
function put(kind, ...children) {
  clearTimeout(timer);
  outcome.className = `message ${kind}`;
  outcome.replaceChildren(...children);
  show(outcome, true);
  $("#new-answer").prepend(outcome);
}

function clear() {
  clearTimeout(timer);
  outcome.className = "message";
  outcome.replaceChildren();
  show(outcome, false);
}
