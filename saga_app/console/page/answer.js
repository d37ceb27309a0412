// What the server said to the last request for new users: below the buttons, where it was made.

import { $, h, icon } from "./dom.js";
import { plural } from "./format.js";
import { sagaAddress } from "./router.js";

const PROBLEMS_SHOWN = 6;
const STAYS_MS = 8000;
let timer = 0;

/** Who was accepted; with an id, a link to the saga. */
export function answer(who, id) {
  const subject = id ? h("a", { href: sagaAddress(id) }, h("bdi", {}, who)) : h("bdi", {}, who);
  put("accepted", icon("check"), h("p", {}, "Accepted: ", subject));
  timer = setTimeout(clear, STAYS_MS);
}

/** Why not. `placed`: each message stands at its field already. */
export function refuse(problem, placed = false) {
  const title = problem.status === 503 && !problem.title ? "The broker is away" : problem.title || "Not accepted";
  const lines = [h("strong", {}, title)];
  if (placed) lines.push(h("p", {}, "Nothing was sent. See the marked fields."));
  else if (problem.detail) lines.push(h("p", {}, problem.detail));
  const url = String(problem.body?.url ?? "").match(/\/sagas\/([^/?#]+)$/);
  if (url) lines.push(h("p", {}, h("a", { href: `#/sagas/${url[1]}` }, "Show the one that exists")));
  if (!placed && problem.errors.length) lines.push(list(problem.errors));
  put("refused", icon("warn"), h("div", {}, lines), dismiss());
}

function list(errors) {
  const more = errors.length - PROBLEMS_SHOWN;
  return h(
    "ul",
    {},
    errors.slice(0, PROBLEMS_SHOWN).map(({ index, field, message }) => h("li", {}, `${place(index, field)}${message}`)),
    more > 0 ? h("li", {}, `and ${plural(more, "more problem")}`) : null,
  );
}

function place(index, field) {
  const parts = [index == null ? "" : `entry ${Number(index) + 1}`, field ?? ""].filter(Boolean);
  return parts.length ? `${parts.join(", ")}: ` : "";
}

const dismiss = () =>
  h("button", { type: "button", class: "quiet", "aria-label": "Dismiss", onclick: clear }, icon("close"));

function put(kind, ...children) {
  clear();
  $("#new-answer").append(h("div", { class: `message ${kind}` }, ...children));
}

function clear() {
  clearTimeout(timer);
  $("#new-answer").replaceChildren();
}
