// The department filter, which applies to all views.

import { $, h } from "../core/dom.js";
import { setDepartment, store, subscribe } from "../core/store.js";

export function filter() {
  const select = $("#department");
  select.addEventListener("change", () => setDepartment(select.value));
  let known = "";
  subscribe((changed) => {
    if (!changed.has("stats")) return;
    const departments = store.stats?.departments ?? [];
    if (departments.join() === known) return;
    known = departments.join();
    select.replaceChildren(h("option", { value: "" }, "All departments"), ...departments.map(option));
    select.value = store.department;
    $("#departments").replaceChildren(...departments.map(option));
  });
}

/** @param {string} department */
const option = (department) => h("option", { value: department }, department);

/**
 * Whether the filter includes this saga.
 * @param {Saga} row
 */
export const passes = (row) => !store.department || row.user?.department === store.department;
