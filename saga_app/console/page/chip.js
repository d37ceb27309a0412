// A state as a word, a shape and a colour.

import { h, icon } from "./dom.js";
import { inMotion, stateOf } from "./plan.js";

export function chip(row) {
  const state = stateOf(row);
  const late = row.overdue && inMotion(row);
  return h(
    "span",
    { class: "chip", "data-meaning": late ? "trouble" : state.meaning },
    icon(late ? "late" : state.icon),
    late ? `${state.label}, overdue` : state.label,
  );
}
