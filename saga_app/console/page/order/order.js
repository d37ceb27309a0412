// The Order view compares the order of start with the order of finish. A rising line is a saga that overtook others.

import { sagaAddress } from "../core/address.js";
import { api } from "../core/api.js";
import { h, show, svg, text } from "../core/dom.js";
import { keepFocus } from "../core/focus.js";
import { duration, plural } from "../core/format.js";
import { hasEnded, stateOf } from "../core/plan.js";
import { complaint } from "../core/problem_box.js";
import { store, subscribe } from "../core/store.js";

const SAGAS = 40;
/** The height of a name in pixels: at least 24, the minimum size of a pointer target (WCAG 2.5.8). */
const PITCH = 28;
const MIDDLE = PITCH / 2;
const REFRESH_MS = 1500;

export function order() {
  const says = h("p", { class: "intro" });
  const best = h("p", { class: "intro muted" });
  const left = h("ol", { class: "names left", "aria-label": "Order of start" });
  const right = h("ol", { class: "names right", "aria-label": "Order of finish" });
  const lines = svg("svg", { class: "lines", "aria-hidden": "true", preserveAspectRatio: "none" });
  const chart = h(
    "div",
    { class: "slope" },
    h("h2", {}, "Started"),
    h("h2", { class: "last" }, "Finished"),
    left,
    lines,
    right,
  );
  const empty = h(
    "div",
    { class: "empty", hidden: true },
    h("p", { class: "big" }, "Nothing to compare yet."),
    h("p", {}, "Onboard a few users at once to see which overtake others."),
  );
  const broken = h("div", { class: "broken", role: "alert", hidden: true });
  const element = h("div", { class: "order", tabindex: "-1" }, broken, says, best, chart, empty);
  let visible = false;
  /** @type {Saga[]} */
  let rows = [];
  let timer = 0;
  let latestLoad = 0;

  async function load() {
    clearTimeout(timer);
    timer = 0;
    latestLoad += 1;
    const thisLoad = latestLoad;
    try {
      const page = await api.sagas({ sort: "-ended_at", limit: SAGAS, department: store.department });
      if (thisLoad !== latestLoad) return;
      show(broken, false);
      if (visible) draw(page.items.filter(hasEnded));
    } catch (problem) {
      if (thisLoad !== latestLoad) return;
      const again = h("button", { type: "button", onclick: load }, "Try again");
      broken.replaceChildren(...complaint(problem, "Loading failed", again));
      show(broken, true);
    }
  }

  /** @param {Saga[]} latest */
  function draw(latest) {
    rows = latest;
    const finished = [...rows].sort(by("ended_at"));
    const started = [...rows].sort(by("started_at"));
    const startOf = (/** @type {Saga} */ row) => started.indexOf(row);
    show(chart, rows.length > 1);
    show(empty, rows.length <= 1);
    show(says, rows.length > 1);
    const moved = finished.filter((row, place) => startOf(row) !== place).length;
    text(
      says,
      `Of the last ${rows.length} sagas, ${moved} finished in a different position from the one they started in.`,
    );
    const leap = rows.reduce(
      (most, row) => ((row.overtook ?? 0) > (most?.overtook ?? 0) ? row : most),
      /** @type {Saga | null} */ (null),
    );
    text(
      best,
      leap
        ? `Most overtakes: ${leap.user.name}, ${plural(leap.overtook ?? 0, "saga")} in ${duration(leap.duration)}.`
        : "No saga overtook another.",
    );
    /** @type {(list: HTMLElement, labels: HTMLElement[]) => void} */
    const redraw = (list, labels) => keepFocus(list, () => list.replaceChildren(...labels), element);
    redraw(
      left,
      started.map((row, place) => label(row, place)),
    );
    redraw(
      right,
      finished.map((row, place) => label(row, place, startOf(row) - place)),
    );
    lines.setAttribute("viewBox", `0 0 100 ${rows.length * PITCH}`);
    lines.setAttribute("height", String(rows.length * PITCH));
    lines.replaceChildren(...finished.map((row, place) => path(row, startOf(row), place)));
  }

  /**
   * Highlight the line of the name that is hovered or focused.
   * @param {Event} event
   */
  function point({ type, target }) {
    const leaves = type === "pointerleave" || type === "focusout";
    const part = !leaves && target instanceof Element ? target.closest("[data-id]") : null;
    const id = part?.getAttribute("data-id");
    chart.classList.toggle("pointed", Boolean(id));
    for (const each of chart.querySelectorAll("[data-id]"))
      each.classList.toggle("on", each.getAttribute("data-id") === id);
  }
  for (const type of ["pointerover", "pointerleave", "focusin", "focusout"]) chart.addEventListener(type, point);

  subscribe((changed) => {
    if (!visible) return;
    if (changed.has("department")) load();
    else if (changed.has("arrivals") && !timer) timer = setTimeout(load, rows.length ? REFRESH_MS : 0);
  });

  return {
    element,
    shown() {
      visible = true;
      load();
    },
    hidden() {
      visible = false;
    },
    ids: () => rows.map((row) => row.id),
  };
}

/**
 * Compares sagas by this time, then by id.
 * @param {"started_at" | "ended_at"} key
 * @returns {(a: Saga, b: Saga) => number}
 */
const by = (key) => (a, b) => Date.parse(a[key] ?? "") - Date.parse(b[key] ?? "") || a.id.localeCompare(b.id);

/** @param {Saga} row @param {number} place @param {number} [gained] places; left out in the order of start */
function label(row, place, gained) {
  const change =
    gained == null ? null : h("span", { class: "gain" }, gained > 0 ? `↑${gained}` : gained < 0 ? `↓${-gained}` : "=");
  return h(
    "li",
    { "data-id": row.id, "data-kind": kind(row, gained ?? 0) },
    h("span", { class: "rank" }, place + 1),
    h(
      "a",
      { href: sagaAddress(row.id), title: `${stateOf(row).label} in ${duration(row.duration)}` },
      h("bdi", {}, row.user.name),
    ),
    change,
  );
}

/**
 * The line from a place on the left to a place on the right.
 * @param {Saga} row
 * @param {number} from
 * @param {number} to
 */
function path(row, from, to) {
  const [a, b] = [MIDDLE + from * PITCH, MIDDLE + to * PITCH];
  return svg("path", {
    "data-id": row.id,
    "data-kind": kind(row, from - to),
    d: `M0 ${a} C40 ${a} 60 ${b} 100 ${b}`,
    "vector-effect": "non-scaling-stroke",
  });
}

/** @param {Saga} row @param {number} gained */
function kind(row, gained) {
  if (row.state !== "completed") return "undone";
  return gained > 0 ? "rose" : gained < 0 ? "fell" : "same";
}
