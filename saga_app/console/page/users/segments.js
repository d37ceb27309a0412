// The users by what one wants to know of them: four words, each with its count, and each a filter.

import { h, text } from "../core/dom.js";
import { number } from "../core/format.js";
import { store, subscribe } from "../core/store.js";

const sum = (counts, ...states) => states.reduce((all, state) => all + (counts[state] ?? 0), 0);

/** value -> its words, how many they are by the figures, and what the API is asked for. */
const SEGMENTS = {
  "": { label: "All", count: ({ counts }) => sum(counts, ...Object.keys(counts)), query: {} },
  pending: {
    label: "Pending",
    count: ({ counts }) => sum(counts, "running", "rolling-back"),
    query: { state: "running,rolling-back" },
  },
  completed: { label: "Complete", count: ({ counts }) => sum(counts, "completed"), query: { state: "completed" } },
  "rolled-back": {
    label: "Rolled back",
    count: ({ counts }) => sum(counts, "rolled-back"),
    query: { state: "rolled-back" },
  },
  trouble: { label: "In trouble", count: ({ trouble }) => trouble, query: { trouble: true } },
};

/** Other values that the list of states has. */
const OTHERS = { overdue: { overdue: true } };

/** What the API is asked for: one of these, or a state as it is. */
export const stateQuery = (value) => SEGMENTS[value]?.query ?? OTHERS[value] ?? { state: value };

/** `current()` is the value in force, `choose(value)` is called with another. */
export function segments(current, choose) {
  const parts = Object.entries(SEGMENTS).map(([value, { label, count }]) => {
    const figure = h("span", { class: "count" });
    const button = h("button", { type: "button", "data-state": value, onclick: () => choose(value) }, label, figure);
    return { value, count, figure, button };
  });
  const buttons = parts.map((part) => part.button);
  const element = h("div", { class: "segments", role: "group", "aria-label": "Which users" }, buttons);

  /** The figures are those of all departments: with one chosen they would say too much. */
  function paint() {
    const { stats, department } = store;
    for (const { value, count, figure, button } of parts) {
      button.setAttribute("aria-pressed", String(value === current()));
      figure.classList.toggle("some", stats ? count(stats) > 0 : false);
      text(figure, stats?.counts && !department ? number(count(stats)) : "");
    }
  }
  subscribe((changed) => (changed.has("stats") || changed.has("department")) && paint());
  paint();
  return { element, paint };
}
