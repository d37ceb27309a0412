// The arrivals board: everybody whose saga has ended, newest first.

import { h, icon, name, show, text } from "../core/dom.js";
import { clock, duration, plural } from "../core/format.js";
import { stateOf } from "../core/plan.js";
import { sagaAddress } from "../core/router.js";
import { store, subscribe } from "../core/store.js";
import { when } from "../core/time.js";
import { passes } from "../shell/department_filter.js";

const SHOWN = 50;
/** When more arrive at once than one can read, the board changes this often at most, and without a glide. */
const CALM_MS = 600;
const MANY = 4;
const still = matchMedia("(prefers-reduced-motion: reduce)");

export function arrivals() {
  const list = h("ol", { class: "board-list" });
  const held = h("button", { type: "button", class: "held", hidden: true, onclick: release });
  const empty = h("p", { class: "board-empty" }, "No users have arrived yet.");
  const heading = h("div", { class: "board-head" }, h("h2", {}, "Arrivals"), h("p", {}, "newest first"), held);
  const titles = h(
    "div",
    { class: "board-titles", "aria-hidden": "true" },
    ["", "User", "Department", "Device", "Access", "Order", "Time", "At"].map((title) => h("span", {}, title)),
  );
  const more = h("a", { class: "board-more", href: "#/users", hidden: true }, "All users");
  const scroller = h("div", { class: "board-scroll" }, list, empty, more);
  const element = h("section", { class: "board", "aria-label": "Arrivals" }, heading, titles, scroller);

  const items = new Map();
  let rows = [];
  let paintedAt = 0;
  let timer = 0;

  /** While the board is scrolled down, nothing moves; a button says how many are waiting. */
  const reading = () => scroller.scrollTop > 8;

  function release() {
    scroller.scrollTop = 0;
    paint();
  }

  function soon() {
    timer ||= setTimeout(paint, Math.max(0, paintedAt + CALM_MS - performance.now()));
  }

  function paint() {
    timer = clearTimeout(timer) ?? 0;
    paintedAt = performance.now();
    const wanted = store.arrivals.filter(passes).slice(0, SHOWN);
    const fresh = wanted.filter((row) => !items.has(row.id));
    const waiting = reading() && rows.length > 0 ? fresh.length : 0;
    show(held, waiting > 0);
    if (waiting) return text(held, `${plural(waiting, "more", "more")} ↑`);
    const first = rows.length === 0;
    rows = wanted;
    const keep = new Set(wanted.map((row) => row.id));
    for (const [id, item] of items) {
      if (keep.has(id)) continue;
      item.remove();
      items.delete(id);
    }
    wanted.forEach((row, place) => put(row, place));
    show(empty, wanted.length === 0);
    show(more, store.arrivals.filter(passes).length > SHOWN);
    if (!first && fresh.length) slide(fresh);
  }

  function put(row, place) {
    let item = items.get(row.id);
    if (!item) items.set(row.id, (item = line(row)));
    if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
  }

  /** The others make room, and the new ones are marked for a moment. */
  function slide(fresh) {
    if (still.matches || fresh.length > MANY || document.hidden) return;
    const height = items.get(fresh[0].id).offsetHeight * fresh.length;
    list.animate([{ transform: `translateY(${-height}px)` }, { transform: "none" }], {
      duration: 220,
      easing: "cubic-bezier(.2,.8,.2,1)",
    });
    for (const row of fresh) items.get(row.id).classList.add("fresh");
  }

  scroller.addEventListener("scroll", () => !held.hidden && !reading() && paint(), { passive: true });
  subscribe((changed) => {
    if (changed.has("department")) paint();
    else if (changed.has("arrivals")) soon();
  });
  return { element, ids: () => rows.map((row) => row.id) };
}

function line(row) {
  const state = stateOf(row);
  const order =
    row.overtook > 0 ? [icon("up"), `overtook ${row.overtook}`] : [row.state === "completed" ? "in order" : ""];
  return h(
    "li",
    { class: "arrival", "data-id": row.id, "data-meaning": state.meaning, title: row.why },
    h("span", { class: "badge" }, icon(state.icon), h("span", { class: "hidden" }, state.label)),
    h("a", { class: "person", href: sagaAddress(row.id) }, name(row.user.name)),
    h("span", { class: "department" }, row.user.department),
    h("span", { class: "device mono" }, row.device_id ?? ""),
    h("span", { class: "access" }, row.state === "completed" ? (row.authorizations ?? []).join(", ") : ""),
    h(
      "span",
      { class: row.overtook > 0 ? "overtook" : "overtook none" },
      row.state === "completed" ? order : state.label.toLowerCase(),
    ),
    h("span", { class: "took" }, duration(row.duration)),
    h("span", { class: "at" }, when(row.ended_at, clock)),
  );
}
