// A state as a word, a shape and a colour.

import { h, icon } from "./dom.js";
import { hasEnded, inMotion, stateOf } from "./plan.js";

export function chip(row) {
  const state = stateOf(row);
  const late = row.overdue && !hasEnded(row);
  return h(
    "span",
    { class: "chip", "data-meaning": late ? "trouble" : state.meaning },
    icon(late && inMotion(row) ? "late" : state.icon),
    late ? `${state.label}, overdue` : state.label,
  );
}
