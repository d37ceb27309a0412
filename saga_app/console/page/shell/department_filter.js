// The department filter, for every view.

import { $, h } from "../core/dom.js";
import { setDepartment, store, subscribe } from "../core/store.js";

export function filter() {
  const select = $("#department");
  select.addEventListener("change", () => setDepartment(select.value));
  let known = "";
  subscribe((changed) => {
    if (!changed.has("stats")) return;
    const departments = store.stats.departments ?? [];
    if (departments.join() === known) return;
    known = departments.join();
    select.replaceChildren(h("option", { value: "" }, "All departments"), ...departments.map(option));
    select.value = store.department;
    $("#departments").replaceChildren(...departments.map(option));
  });
}

const option = (department) => h("option", { value: department }, department);

/** Whether the filter lets this row through. */
export const passes = (row) => !store.department || row.user?.department === store.department;
