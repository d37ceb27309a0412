// The keys that work everywhere: n (new user), t (trace), / (search), Esc and the arrows in the drawer (see there).

import { isAsking } from "../errors/confirm.js";
import { $ } from "./dom.js";

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

export const typing = (target) =>
  target instanceof Element && target.closest("input, select, textarea, [contenteditable]") !== null;

function search() {
  const focus = () => $("#search").focus();
  if (document.body.dataset.view === "users") return focus();
  addEventListener("hashchange", focus, { once: true });
  location.hash = "#/users";
}
