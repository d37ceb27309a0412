// What is shown where the rows would be when there are none.

import { h, icon, show, text } from "../core/dom.js";
import { plural } from "../core/format.js";
import { store } from "../core/store.js";

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
    h("span", {}, "Trace Mode is off: the steps are not shown. Users appear below when their saga has ended."),
  );
}

/** While no saga moves and some are stuck: how many, and where to find them. `paint(stats)` answers whether that is so. */
export function parkedNote() {
  const big = h("p", { class: "big" });
  const link = h("a", { href: "#/errors" });
  const users = h("a", { href: "#/users?state=trouble" });
  const element = h("div", { class: "empty stuck", hidden: true }, icon("pause"), big, link, users);

  function paint(stats) {
    const { errors = 0, counts = {}, trouble = 0 } = stats ?? {};
    const parked = counts.parked ?? 0;
    const none = `No saga is moving${store.department ? ` in ${store.department}` : ""}.`;
    const all = store.department ? " in all departments" : "";
    text(big, parked ? `${none} ${plural(parked, "is parked", "are parked")}${all}.` : none);
    text(
      link,
      `${plural(errors, "permanently failed message waits", "permanently failed messages wait")} under Errors`,
    );
    text(users, `${plural(trouble, "saga", "sagas")} in trouble`);
    show(link, errors > 0);
    show(users, trouble > 0);
    return errors > 0 || trouble > 0;
  }
  return { element, paint };
}
