// The arrivals board: the users whose sagas have ended, newest first.

import { sagaAddress } from "../core/address.js";
import { h, icon, name, show, text } from "../core/dom.js";
import { columnSteps, factText, factTitle, isIdentifier } from "../core/facts.js";
import { clock, duration, number } from "../core/format.js";
import { stateOf } from "../core/plan.js";
import { store, subscribe } from "../core/store.js";
import { when } from "../core/time.js";
import { passes } from "../shell/department_filter.js";

/** The maximum number of rows on the board. */
const SHOWN = 50;
/** The minimum time between two updates of the board, so that it stays readable when many sagas end at once. */
const CALM_MS = 600;
/** An update with more new rows than this is not animated. */
const MANY = 4;
const still = matchMedia("(prefers-reduced-motion: reduce)");

export function arrivals() {
  const list = h("ol", { class: "board-list" });
  const held = h("button", { type: "button", class: "held", hidden: true, onclick: release });
  const empty = h("p", { class: "board-empty" }, "No users have arrived yet.");
  const heading = h("div", { class: "board-head" }, h("h2", {}, "Arrivals"), h("p", {}, "newest first"), held);
  const columns = columnSteps();
  const titles = h(
    "div",
    { class: "board-titles", "aria-hidden": "true" },
    ["", "User", "Department"].map((title) => h("span", {}, title)),
    columns.map((step) => h("span", { class: "fact" }, factTitle(step))),
    ["Order", "Time", "Ended"].map((title) => h("span", {}, title)),
  );
  const more = h("a", { class: "board-more", href: "#/users", hidden: true }, "All users");
  const scroller = h("div", { class: "board-scroll" }, list, empty, more);
  const element = h("section", { class: "board", "aria-label": "Arrivals" }, heading, titles, scroller);
  const widths = columns.map((step) => (step.fact_shown_as === "list" ? "1.5fr" : "1fr"));
  element.style.setProperty("--fact-columns", widths.join(" "));

  /** @type {Map<string, HTMLElement>} */
  const items = new Map();
  /** @type {Saga[]} */
  let rows = [];
  let paintedAt = 0;
  let timer = 0;

  /** Whether the board is scrolled down. It does not change then; a button shows the number of new rows. */
  const reading = () => scroller.scrollTop > 8;

  function release() {
    scroller.scrollTop = 0;
    paint();
  }

  function soon() {
    timer ||= setTimeout(paint, Math.max(0, paintedAt + CALM_MS - performance.now()));
  }

  function paint() {
    clearTimeout(timer);
    timer = 0;
    paintedAt = performance.now();
    const wanted = store.arrivals.filter(passes).slice(0, SHOWN);
    const fresh = wanted.filter((row) => !items.has(row.id));
    const waiting = reading() && rows.length > 0 ? fresh.length : 0;
    show(held, waiting > 0);
    if (waiting) {
      text(held, `${number(waiting)} new ↑`);
      return;
    }
    const first = rows.length === 0;
    rows = wanted;
    const keep = new Set(wanted.map((row) => row.id));
    for (const [id, item] of items) {
      if (keep.has(id)) continue;
      item.remove();
      items.delete(id);
    }
    wanted.forEach(put);
    show(empty, wanted.length === 0);
    show(more, store.arrivals.filter(passes).length > SHOWN);
    if (!first && fresh.length) slide(fresh);
  }

  /**
   * Put the row's element at its place in the list.
   * @param {Saga} row
   * @param {number} place
   */
  function put(row, place) {
    const item = items.get(row.id) ?? line(row, columns);
    items.set(row.id, item);
    if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
  }

  /**
   * Animate new rows: the other rows slide down, and the new ones are highlighted for a moment.
   * @param {Saga[]} fresh
   */
  function slide(fresh) {
    if (still.matches || fresh.length > MANY || document.hidden) return;
    const height = (items.get(fresh[0].id)?.offsetHeight ?? 0) * fresh.length;
    list.animate([{ transform: `translateY(${-height}px)` }, { transform: "none" }], {
      duration: 220,
      easing: "cubic-bezier(.2,.8,.2,1)",
    });
    for (const row of fresh) items.get(row.id)?.classList.add("fresh");
  }

  scroller.addEventListener("scroll", () => !held.hidden && !reading() && paint(), { passive: true });
  subscribe((changed) => {
    if (changed.has("department")) paint();
    else if (changed.has("arrivals")) soon();
  });
  return { element, ids: () => rows.map((row) => row.id) };
}

/** @param {Saga} row @param {FactStep[]} columns */
function line(row, columns) {
  const state = stateOf(row);
  const overtook = row.overtook ?? 0;
  const order = overtook > 0 ? [icon("up"), `overtook ${overtook}`] : [row.state === "completed" ? "in order" : ""];
  return h(
    "li",
    { class: "arrival", "data-id": row.id, "data-meaning": state.meaning, title: row.why },
    h("span", { class: "badge" }, icon(state.icon), h("span", { class: "hidden" }, state.label)),
    h("a", { class: "person", href: sagaAddress(row.id) }, name(row.user.name)),
    h("span", { class: "department" }, row.user.department),
    columns.map((step) => fact(step, row)),
    h(
      "span",
      { class: overtook > 0 ? "overtook" : "overtook none" },
      row.state === "completed" ? order : state.label.toLowerCase(),
    ),
    h("span", { class: "took" }, duration(row.duration)),
    h("span", { class: "at" }, when(row.ended_at, clock)),
  );
}

/**
 * The fact that a step has found out, for completed sagas: those of the others have been compensated.
 * @param {FactStep} step
 * @param {Saga} row
 */
function fact(step, row) {
  const found = row.state === "completed" ? factText(step, row.facts) : "";
  return h("span", { class: isIdentifier(step, found) ? "fact mono" : "fact" }, found);
}
