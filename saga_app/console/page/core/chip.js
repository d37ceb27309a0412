// The state of a saga as a coloured label with an icon.

import { h, icon } from "./dom.js";
import { hasEnded, inMotion, stateOf } from "./plan.js";

/** @param {Saga} row */
export function chip(row) {
  const state = stateOf(row);
  const isLate = row.overdue && !hasEnded(row);
  return h(
    "span",
    { class: "chip", "data-meaning": isLate ? "trouble" : state.meaning },
    icon(isLate && inMotion(row) ? "late" : state.icon),
    isLate ? `${state.label}, overdue` : state.label,
  );
}
