// Texts shown in place of the rows when there are none.

import { h, icon, show, text } from "../core/dom.js";
import { plural } from "../core/format.js";
import { plan } from "../core/plan.js";
import { store } from "../core/store.js";

/** Trace Mode is on and no saga is in progress: how to add a user. */
export function emptyState() {
  const stops = plan.steps.map(() => h("i"));
  return h(
    "div",
    { class: "empty", hidden: true },
    h("div", { class: "ghost", "aria-hidden": "true" }, stops),
    h("p", { class: "big" }, "No users are being onboarded."),
    h("p", {}, "Press ", h("b", {}, "New User"), h("span", { class: "by-key" }, ", or ", h("kbd", {}, "n")), "."),
  );
}

/** Trace Mode is off: why there are no rows. */
export function offState() {
  return h(
    "p",
    { class: "off", hidden: true },
    icon("flag"),
    h("span", {}, "Trace Mode is off: steps are not shown. Users appear below when their saga has ended."),
  );
}

/** No saga is in progress, but some need an operator: how many, with links. `paint` returns whether there are any. */
export function parkedNote() {
  const big = h("p", { class: "big" });
  const link = h("a", { href: "#/errors" });
  const users = h("a", { href: "#/users?state=trouble" });
  const element = h("div", { class: "empty stuck", hidden: true }, icon("pause"), big, link, users);

  /** @param {Stats | null} stats */
  function paint(stats) {
    const errors = stats?.errors ?? 0;
    const trouble = stats?.trouble ?? 0;
    const parked = stats?.counts?.parked ?? 0;
    const none = `No saga is in progress${store.department ? ` in ${store.department}` : ""}.`;
    const all = store.department ? " in all departments together" : "";
    text(big, parked ? `${none} ${plural(parked, "is parked", "are parked")}${all}.` : none);
    text(link, `${plural(errors, "permanently failed message")} under Errors`);
    text(users, `${plural(trouble, "saga", "sagas")} in trouble`);
    show(link, errors > 0);
    show(users, trouble > 0);
    return errors > 0 || trouble > 0;
  }
  return { element, paint };
}
