// The filter buttons of the Users view: All, Pending, Completed, Rolled back, In trouble, each with its count.

import { h, text } from "../core/dom.js";
import { number } from "../core/format.js";
import { store, subscribe } from "../core/store.js";

/** @typedef {{ state?: string, trouble?: true, overdue?: true }} StateQuery query parameters of `/api/sagas` */
/** @typedef {{ label: string, count: (stats: Stats) => number, query: StateQuery }} Segment */

/** @param {Stats["counts"]} counts @param {string[]} states */
const sum = (counts, ...states) => states.reduce((all, state) => all + (counts[state] ?? 0), 0);

/** By filter value. @type {Record<string, Segment>} */
const SEGMENTS = {
  "": { label: "All", count: ({ counts }) => sum(counts, ...Object.keys(counts)), query: {} },
  pending: {
    label: "Pending",
    count: ({ counts }) => sum(counts, "running", "rolling-back"),
    query: { state: "running,rolling-back" },
  },
  completed: { label: "Completed", count: ({ counts }) => sum(counts, "completed"), query: { state: "completed" } },
  "rolled-back": {
    label: "Rolled back",
    count: ({ counts }) => sum(counts, "rolled-back"),
    query: { state: "rolled-back" },
  },
  trouble: { label: "In trouble", count: ({ trouble }) => trouble, query: { trouble: true } },
};

/** Filters that only the state menu offers. @type {Record<string, StateQuery>} */
const OTHERS = { overdue: { overdue: true } };

/** @param {string} value a filter value or a saga state @returns {StateQuery} */
export const stateQuery = (value) => SEGMENTS[value]?.query ?? OTHERS[value] ?? { state: value };

/** @param {() => string} current the active filter value @param {(value: string) => void} choose */
export function segments(current, choose) {
  const parts = Object.entries(SEGMENTS).map(([value, { label, count }]) => {
    const figure = h("span", { class: "count" });
    const button = h("button", { type: "button", "data-state": value, onclick: () => choose(value) }, label, figure);
    return { value, count, figure, button };
  });
  const buttons = parts.map((part) => part.button);
  const element = h("div", { class: "segments", role: "group", "aria-label": "Quick filters" }, buttons);

  /** The counts cover all departments, so they are hidden while a department is selected. */
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
