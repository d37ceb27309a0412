// The Live view: the stations, a row for each running saga, and the arrivals board.

import { now } from "../core/clock.js";
import { h, show } from "../core/dom.js";
import { number } from "../core/format.js";
import { inMotion, plan } from "../core/plan.js";
import { store, subscribe } from "../core/store.js";
import { passes } from "../shell/department_filter.js";
import { arrivals } from "./arrivals.js";
import { density, lanesFor } from "./lanes.js";
import { learnPace } from "./pace.js";
import { emptyState, offState, parkedNote } from "./placeholders.js";
import { Row } from "./row.js";
import { Slots } from "./slots.js";
import { stations } from "./stations.js";
import { Swarm } from "./swarm.js";

/**
 * Above `flowsOver` sagas in motion, the view shows flows and `sample` rows. It returns to rows only at `rowsUnder`;
 * the difference prevents flickering.
 */
const DESK = { flowsOver: 60, rowsUnder: 50, sample: 16 };
const PHONE = { flowsOver: 14, rowsUnder: 10, sample: 6 };
/** The time between two updates of the texts. */
const WORDS_MS = 250;
/** The number of rows rendered above and below the visible ones. */
const MARGIN = 2;
const phone = matchMedia("(max-width: 899px)");

export function live() {
  const list = h("ol", { class: "runs", "aria-label": "Users in progress", tabindex: "-1" });
  const header = stations();
  const swarm = new Swarm();
  const empty = emptyState();
  const off = offState();
  const parked = parkedNote();
  const lanes = h(
    "section",
    { class: "lanes", "aria-label": "In progress" },
    header.element,
    swarm.element,
    list,
    empty,
    off,
    parked.element,
  );
  const board = arrivals();
  const element = h("div", { class: "live" }, lanes, board.element);

  const slots = new Slots();
  /** @type {Map<string, Row>} */
  const rows = new Map();
  /** @type {Map<string, number>} Id -> the number of its visits that the pace includes. */
  const learnt = new Map();
  const laneCount = plan.steps.length;
  let visible = false;
  let flows = false;
  let geometry = lanesFor(0, laneCount);
  let rowHeight = 64;
  let width = 0;
  let dirty = true;

  function arrange() {
    const travellers = [...store.travellers.values()].filter(({ row }) => passes(row));
    travellers.forEach(learn);
    const ids = travellers.map(({ row }) => row.id);
    const moving = travellers.filter(({ row }) => inMotion(row)).map(({ row }) => row.id);
    const { flowsOver, rowsUnder, sample } = phone.matches ? PHONE : DESK;
    flows = moving.length > (flows ? rowsUnder : flowsOver);
    // The sample takes the newest sagas, so that it shows them from the start.
    if (flows) slots.arrange(new Set(ids), moving.toReversed(), sample);
    else slots.arrange(new Set(ids), ids, flowsOver + MARGIN);
    element.classList.toggle("flows", flows);
    show(swarm.element, flows);
    if (flows)
      swarm.say(
        `${number(moving.length)} in progress, shown as flows: one dot per user. Below, ${slots.taken} of them.`,
      );
    const isEmpty = travellers.length === 0 && store.connection.state !== "loading";
    const stuck = isEmpty && parked.paint(store.stats);
    show(empty, store.trace && isEmpty && !stuck);
    show(off, !store.trace);
    show(parked.element, stuck);
    element.classList.toggle("loading", store.connection.state === "loading");
    list.style.height = `${slots.length * rowHeight}px`;
    header.count(travellers, flows);
    swarm.set(flows ? travellers : [], geometry);
    dirty = true;
  }

  /** @param {Traveller} traveller */
  function learn({ row }) {
    const visits = row.history?.length ?? 0;
    if ((learnt.get(row.id) ?? 0) < visits) learnPace(row);
    learnt.set(row.id, visits);
    if (learnt.size > 5000) learnt.clear();
  }

  /** Create the rows of the slots in view and remove the others. */
  function place() {
    const top = list.getBoundingClientRect().top;
    const first = Math.floor(-top / rowHeight) - MARGIN;
    const last = Math.ceil((innerHeight - top) / rowHeight) + MARGIN;
    const wanted = new Set();
    for (const [slot, id] of slots.entries()) {
      if (slot < first || slot > last) continue;
      const traveller = store.travellers.get(id);
      if (!traveller) continue;
      wanted.add(id);
      let row = rows.get(id);
      if (!row) {
        row = new Row(traveller, geometry);
        rows.set(id, row);
        list.append(row.element);
      } else {
        row.update(traveller);
      }
      row.element.style.transform = `translateY(${slot * rowHeight}px)`;
      row.element.classList.toggle("leaving", traveller.leavesAt > 0 && traveller.leavesAt - performance.now() < 400);
    }
    for (const [id, row] of rows) if (!wanted.has(id)) drop(id, row);
    dirty = false;
  }

  /** @param {string} id @param {Row} row */
  function drop(id, row) {
    const focused = row.element.contains(document.activeElement);
    row.element.remove();
    rows.delete(id);
    if (focused) list.focus({ preventScroll: true });
  }

  function measure() {
    width = header.track.clientWidth;
    rowHeight = Number.parseFloat(getComputedStyle(list).getPropertyValue("--row")) || 64;
    geometry = lanesFor(width, laneCount);
    element.dataset.density = density(width, laneCount);
    for (const row of rows.values()) row.element.remove();
    rows.clear();
    arrange();
  }

  /** The server's time. It stops while the connection is lost, because the page then receives no events. */
  const known = () => (store.connection.state === "lost" ? Math.min(now(), lostAt) : now());

  let last = 0;
  let worded = 0;
  let lostAt = Infinity;
  /** @param {number} time */
  function frame(time) {
    if (!visible) return;
    requestAnimationFrame(frame);
    if (dirty) place();
    const at = known();
    const elapsed = Math.min(100, time - last);
    last = time;
    const words = time - worded > WORDS_MS;
    if (words) worded = time;
    for (const row of rows.values()) {
      if (words) row.tick(at);
      row.frame(at, elapsed);
    }
    if (words) leavingSoon();
    swarm.frame(at, elapsed);
  }

  function leavingSoon() {
    const time = performance.now();
    for (const [id, row] of rows) {
      const leavesAt = store.travellers.get(id)?.leavesAt ?? 0;
      row.element.classList.toggle("leaving", leavesAt > 0 && leavesAt - time < 450);
    }
  }

  subscribe((changed) => {
    if (changed.has("travellers") || changed.has("department") || changed.has("connection")) arrange();
    if (changed.has("stats") && store.stats) {
      header.stats(store.stats);
      arrange();
    }
    if (changed.has("connection")) lostAt = store.connection.state === "lost" ? Math.min(lostAt, now()) : Infinity;
  });
  const onScroll = () => {
    dirty = true;
  };
  addEventListener("scroll", onScroll, { capture: true, passive: true });
  new ResizeObserver(() => visible && header.track.clientWidth !== width && measure()).observe(header.track);

  return {
    element,
    shown() {
      if (visible) return;
      visible = true;
      measure();
      requestAnimationFrame(frame);
    },
    hidden() {
      visible = false;
    },
    ids: () => [...slots.entries().map(([, id]) => id), ...board.ids()],
  };
}
