// What stands where the rows would be when there are none.

import { h, icon } from "./dom.js";

/** With the trace on, an invitation. */
export function emptyState() {
  return h(
    "div",
    { class: "empty", hidden: true },
    h("div", { class: "ghost", "aria-hidden": "true" }, h("i"), h("i"), h("i"), h("i")),
    h("p", { class: "big" }, "Nobody is being onboarded."),
    h("p", {}, "Press ", h("b", {}, "New User"), h("span", { class: "by-key" }, ", or ", h("kbd", {}, "n")), "."),
  );
}

/** With the trace off, the reason. */
export function offState() {
  return h(
    "p",
    { class: "off", hidden: true },
    icon("flag"),
    h("span", {}, "Trace Mode is off: the way there is not shown. Users appear below when their saga has ended."),
  );
}
