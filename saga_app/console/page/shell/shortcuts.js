// Global keyboard shortcuts: n (new user), t (trace), / (search). The drawer handles Esc and the arrow keys itself.

import { $ } from "../core/dom.js";
import { isAsking } from "../errors/confirm.js";

/** @type {Record<string, () => void>} */
const KEYS = { n: () => $("#new-user").click(), t: () => $("#trace").click(), "/": search };

export function keys() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (typing(event.target) || isAsking()) return;
    const act = KEYS[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

/**
 * Whether an event comes from an input field.
 * @param {EventTarget | null} target
 */
export const typing = (target) =>
  target instanceof Element && target.closest("input, select, textarea, [contenteditable]") !== null;

function search() {
  const focus = () => $("#search").focus();
  if (document.body.dataset.view === "users") return focus();
  addEventListener("hashchange", focus, { once: true });
  location.hash = "#/users";
}
