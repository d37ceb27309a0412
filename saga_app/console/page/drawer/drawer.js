// The drawer of one saga, at `#/sagas/<id>`: user, state, reason, actions, facts, and the timeline of its records.

import { sagaAddress } from "../core/address.js";
import { api } from "../core/api.js";
import { chip } from "../core/chip.js";
import { now } from "../core/clock.js";
import { $, h, icon, show, text } from "../core/dom.js";
import { factSteps, factText, factTitle, isIdentifier } from "../core/facts.js";
import { keepFocus } from "../core/focus.js";
import { clockMs, duration, plural } from "../core/format.js";
import { hasEnded, inMotion, inTrouble } from "../core/plan.js";
import { complaint } from "../core/problem_box.js";
import { currentView, idsInView, sagaInAddress } from "../core/router.js";
import { store, subscribe } from "../core/store.js";
import { inUtc, when } from "../core/time.js";
import { isAsking } from "../errors/confirm.js";
import { retrying } from "../live/row_notes.js";
import { typing } from "../shell/shortcuts.js";
import { actions } from "./actions.js";
import { notFound, tick, timeline } from "./timeline.js";

/** @import { Problem } from "../core/api.js" */

const narrow = matchMedia("(max-width: 899px)");
const REFRESH_MS = 1000;
const SETTLED_MS = 700;
const COUNT_DOWN_MS = 250;
/** Arrow key -> step in the list. @type {Record<string, number>} */
const STEPS = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };

export function drawer() {
  const element = $("#drawer");
  const title = h("h2", { id: "drawer-title", tabindex: "-1" });
  const previous = button("prev", "Previous user (up arrow)", () => step(-1));
  const next = button("next", "Next user (down arrow)", () => step(1));
  const close = button("close", "Close (Esc)", leave);
  const state = h("div", { class: "drawer-state" });
  const why = h("p", { class: "why" });
  const what = actions(() => id !== null && refresh());
  const facts = h("dl", { class: "facts" });
  const broken = h("div", { class: "broken", role: "alert", hidden: true });
  const story = h("div", { class: "story" });
  const absent = h("p", { class: "absent", hidden: true });
  const heading = h("h3", {}, "Timeline");
  const body = h("div", { class: "drawer-body" }, state, why, what.element, broken, facts, heading, story, absent);
  element.append(
    h("div", { class: "drawer-head" }, title, h("div", { class: "buttons" }, previous, next, close)),
    body,
  );

  /** The saga shown, null while the drawer is closed. @type {string | null} */
  let id = null;
  /** The element that had the focus before. @type {HTMLElement | null} */
  let opener = null;
  let timer = 0;
  /** Key of the timeline shown, and `updated_at` and `overdue` of the row shown. */
  let shownStory = "";
  /** @type {string | null} */
  let shownUpdate = null;
  let shownOverdue = false;
  /** Whether the saga is parked and unchanged, so that its trace is not loaded again. */
  let waits = false;

  /** @param {string} wanted */
  function open(wanted) {
    if (id === null) opener = /** @type {HTMLElement | null} */ (document.activeElement);
    if (wanted === id) return;
    id = wanted;
    shownStory = "";
    shownUpdate = null;
    waits = false;
    clearTimeout(timer);
    show(element, true);
    document.body.classList.add("with-drawer");
    cover();
    text(title, "…");
    show(broken, false);
    for (const part of [state, facts]) part.replaceChildren();
    text(why, "");
    why.dataset.meaning = "";
    what.paint(null);
    story.replaceChildren(...skeleton());
    show(absent, false);
    element.scrollTop = 0;
    body.scrollTop = 0;
    mark();
    refresh();
    requestAnimationFrame(() => title.focus({ preventScroll: true }));
  }

  function hide() {
    if (id === null) return;
    id = null;
    clearTimeout(timer);
    show(element, false);
    document.body.classList.remove("with-drawer");
    cover();
    giveBackFocus(opener);
  }

  /** In a narrow window the drawer covers the page: make the page inert, so that it cannot get the focus. */
  function cover() {
    const covers = id !== null && narrow.matches;
    $(".shell").inert = covers;
    element.ariaModal = covers ? "true" : null;
  }
  narrow.addEventListener("change", cover);

  async function refresh() {
    const wanted = id;
    if (wanted === null) return;
    clearTimeout(timer);
    timer = 0;
    const results = await Promise.allSettled([api.saga(wanted), waits ? null : api.trace(wanted)]);
    if (wanted !== id) return;
    const [row, trace] = results;
    if (row.status === "fulfilled") paint(row.value);
    if (trace.status === "fulfilled" && trace.value) {
      paintStory(trace.value.entries);
      text(absent, notFound(trace.value.searched));
      show(absent, Boolean(absent.textContent) && row.status === "fulfilled" && !inMotion(row.value));
    }
    const failed = results.find((result) => result.status === "rejected");
    show(broken, Boolean(failed));
    if (failed) fail(failed.reason, row.status === "fulfilled");
    const done = row.status === "fulfilled" && hasEnded(row.value) && !failed;
    // Refresh once more after the saga has ended: its last record may reach the trace later than the row.
    if (!done) timer = setTimeout(refresh, REFRESH_MS);
    else if (shownUpdate !== row.value.updated_at) timer = setTimeout(refresh, SETTLED_MS);
    if (row.status === "fulfilled") rest(row.value, failed);
  }

  /**
   * A saga can stay parked for days: while its row is unchanged, do not load its trace from Kafka again.
   * @param {Saga} row @param {PromiseRejectedResult} [failed]
   */
  function rest(row, failed) {
    const same = row.updated_at === shownUpdate && Boolean(row.overdue) === shownOverdue;
    const woken = waits && !same;
    waits = row.state === "parked" && same && !failed;
    shownUpdate = row.updated_at;
    shownOverdue = Boolean(row.overdue);
    if (woken) refresh();
  }

  /** @param {Problem} problem @param {boolean} known whether the row could be loaded */
  function fail(problem, known) {
    if (!known) text(title, problem.status === 404 ? "Saga not found" : "This saga could not be loaded");
    if (!story.querySelector("ol")) story.replaceChildren();
    broken.replaceChildren(...complaint(problem, "Loading failed"));
  }

  /** @param {Saga} row */
  function paint(row) {
    title.replaceChildren(h("bdi", {}, row.user.name));
    state.replaceChildren(chip(row), h("code", { class: "id" }, row.id));
    text(why, sentenceOf(row.why));
    const troubled = inTrouble(row) || (inMotion(row) && retrying(row, [], now()));
    why.dataset.meaning = troubled ? "trouble" : "";
    what.paint(row);
    facts.replaceChildren(...factList(row));
  }

  /** Rebuild the timeline only when records were added; raw records stay expanded. @param {TraceEntry[]} entries */
  function paintStory(entries) {
    const key = JSON.stringify(entries.map((entry) => [entry.topic, entry.offset, entry.kind]));
    if (key === shownStory) return;
    shownStory = key;
    const shown = [...story.querySelectorAll("details")];
    const open = new Set(shown.filter((details) => details.open).map((details) => details.dataset.key));
    keepFocus(story, () => story.replaceChildren(timeline(entries)), title);
    for (const details of story.querySelectorAll("details")) details.open = open.has(details.dataset.key);
  }

  /** Open the next or previous saga of the list. @param {number} by */
  function step(by) {
    const ids = idsInView();
    const at = id === null ? -1 : ids.indexOf(id);
    const to = ids[at < 0 ? 0 : at + by];
    if (to) location.replace(sagaAddress(to));
  }

  /** Enable the buttons for the next and previous saga. */
  function mark() {
    const ids = idsInView();
    const at = id === null ? -1 : ids.indexOf(id);
    previous.disabled = at <= 0;
    next.disabled = ids.length === 0 || at === ids.length - 1;
  }

  function leave() {
    location.hash = currentView();
  }

  addEventListener("keydown", (event) => {
    if (id === null || isAsking() || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return leave();
    if (typing(event.target)) return;
    const by = STEPS[event.key];
    if (!by) return;
    event.preventDefault();
    step(by);
  });
  setInterval(() => id !== null && tick(story, now()), COUNT_DOWN_MS);
  subscribe((changed) => {
    if (id === null || sagaInAddress() === null) return;
    if (changed.has("travellers") || changed.has("arrivals")) {
      mark();
      const row = store.travellers.get(id)?.row;
      if (row && row.updated_at !== shownUpdate && !timer) timer = setTimeout(refresh, 200);
    }
  });
  return { open, close: hide };
}

/** Focus the opener; if it was replaced, the link with the same address. @param {HTMLElement | null} opener */
function giveBackFocus(opener) {
  const href = opener?.getAttribute("href");
  const links = () => /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll("main a"));
  const same = () => [...links()].find((link) => link.getAttribute("href") === href);
  const target = opener?.isConnected ? opener : (same() ?? $("#main"));
  target.focus({ preventScroll: true });
}

/** The saga's data, and a line for each fact of the plan. @param {Saga} row */
function factList(row) {
  /** @type {(term: string, value: Child, isWide?: boolean) => Element} */
  const line = (term, value, isWide = false) =>
    h("div", { class: isWide ? "full" : null }, h("dt", {}, term), h("dd", {}, value));
  return [
    line("E-mail", row.user.email, true),
    line("Department", row.user.department),
    line("Time", row.duration == null ? "–" : duration(row.duration)),
    ...factSteps().map((step) => line(factTitle(step), fact(step, row))),
    line("Started", both(row.started_at)),
    line("Ended", row.ended_at ? both(row.ended_at) : "not yet"),
    line("Overtook", overtook(row)),
  ];
}

/** @param {FactStep} step @param {Saga} row */
function fact(step, row) {
  const found = factText(step, row.facts);
  if (!found) return "–";
  if (step.fact_shown_as === "time") return both(found);
  return h("span", { class: isIdentifier(step, found) ? "mono" : null }, found);
}

/** @param {Saga} row */
function overtook({ overtook: count }) {
  if (count == null) return "–";
  return count ? `${plural(count, "saga")} that started earlier` : "no other saga";
}

/** A time in the browser's zone and in UTC. @param {string} at */
const both = (at) => h("span", {}, when(at, clockMs), inUtc(at));

/** @param {string} why */
const sentenceOf = (why) => (why ? `${why[0].toLocaleUpperCase()}${why.slice(1)}${/[.!?]$/.test(why) ? "" : "."}` : "");

/** @param {string} symbol @param {string} label @param {() => void} act */
function button(symbol, label, act) {
  return h("button", { type: "button", class: "quiet", "aria-label": label, title: label, onclick: act }, icon(symbol));
}

const skeleton = () => Array.from({ length: 5 }, () => h("div", { class: "skeleton", "aria-hidden": "true" }));
