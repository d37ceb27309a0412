// The Errors view: dead letters grouped by service, step and error, with redrive and rollback for all of them.

import { api } from "../core/api.js";
import { h, icon, show, text } from "../core/dom.js";
import { isFocusLost } from "../core/focus.js";
import { plural } from "../core/format.js";
import { signature } from "../core/operator.js";
import { complaint } from "../core/problem_box.js";
import { store, subscribe } from "../core/store.js";
import { ask, howMany } from "./confirm.js";
import { Group, keyOf } from "./dead_letter_group.js";

const FRESHEN_MS = 2000;

export function errors() {
  const list = h("ul", { class: "groups", "aria-label": "Dead letters by error" });
  const intro = h("p", { class: "intro" });
  const redrive = h("button", { type: "button", onclick: () => act("redrive") }, icon("retry"), "Redrive all…");
  const rollback = h("button", { type: "button", onclick: () => act("rollback") }, icon("back"), "Roll back all…");
  const tools = h("div", { class: "tools" }, redrive, rollback, signature());
  const said = h("p", { class: "said", role: "status", tabindex: "-1" });
  const broken = h("div", { class: "broken", role: "alert", hidden: true });
  const empty = h(
    "div",
    { class: "empty good", hidden: true },
    icon("check"),
    h("p", { class: "big" }, "No errors."),
    h("p", {}, "Messages that fail permanently are parked here until you redrive them or roll back their sagas."),
  );
  const element = h("div", { class: "errors", tabindex: "-1" }, intro, tools, said, broken, list, empty);
  /** @type {Map<string, Group>} */
  const groups = new Map();
  /** Keys of groups that were removed while expanded; they are expanded again when they return. @type {Set<string>} */
  const opened = new Set();
  let visible = false;
  /** `stats.errors` at the last load. @type {number | null} */
  let seen = null;
  let latestLoad = 0;

  /** @returns {ErrorFilter} */
  const filter = () => (store.department ? { department: store.department } : {});

  /** `quietly`: show neither the loading state nor an error, unless this replaces a load that would show them. */
  async function load(quietly = false) {
    latestLoad += 1;
    const thisLoad = latestLoad;
    const isShown = !quietly || element.classList.contains("loading");
    element.classList.toggle("loading", isShown);
    try {
      const page = await api.errors({ ...filter(), group: true });
      if (thisLoad === latestLoad) draw(page);
    } catch (problem) {
      if (thisLoad === latestLoad && isShown) fail(problem);
    }
    if (thisLoad === latestLoad) element.classList.remove("loading");
  }

  /** @param {Page<DeadLetterGroup>} page */
  function draw({ items, total }) {
    const first = groups.size === 0;
    const focused = element.contains(document.activeElement);
    const keys = new Set(items.map(keyOf));
    for (const [key, group] of groups) {
      if (keys.has(key)) continue;
      if (group.open) opened.add(key);
      group.element.remove();
      groups.delete(key);
    }
    for (const item of items) put(item);
    show(broken, false);
    show(empty, items.length === 0);
    show(tools, items.length > 0);
    show(intro, items.length > 0);
    text(intro, summary(total, items.length));
    if (first && items.length === 1) groups.values().next().value?.turn(true);
    if (focused && isFocusLost()) (said.textContent ? said : element).focus();
  }

  /** Update a group in place, or append a new one. @param {DeadLetterGroup} item */
  function put(item) {
    const group = groups.get(keyOf(item));
    if (group) return group.update(item);
    const fresh = new Group(item, filter, say);
    groups.set(keyOf(item), fresh);
    list.append(fresh.element);
    if (opened.delete(keyOf(item))) fresh.turn(true);
  }

  /** @param {unknown} problem */
  function fail(problem) {
    const again = h("button", { type: "button", onclick: () => load() }, "Try again");
    broken.replaceChildren(...complaint(problem, "Loading failed", again));
    show(broken, true);
  }

  /** @param {string} sentence */
  function say(sentence) {
    text(said, sentence);
    if (isFocusLost()) said.focus();
    load(true);
  }

  /** @param {Intent} intent */
  async function act(intent) {
    const where = store.department ? ` in ${store.department}` : "";
    const verb = intent === "redrive" ? "Redrive" : "Roll back";
    /** @param {number} count */
    const title = (count) => `${verb} ${count > 1 ? "all " : ""}${howMany(intent, count)}${where}?`;
    const done = await ask({ intent, title, filter: filter() });
    if (done) say(done);
    else if (isFocusLost()) element.focus();
  }

  subscribe((changed) => {
    if (!visible) return;
    if (changed.has("department")) {
      clear();
      load();
    } else if (changed.has("stats") && store.stats && store.stats.errors !== seen) {
      seen = store.stats.errors;
      load(true);
    }
  });

  /** Reload regularly: a redriven message that fails again at once does not change `stats.errors`. */
  function freshen() {
    if (visible && !document.hidden && store.connection.state === "live") load(true);
  }
  setInterval(freshen, FRESHEN_MS);

  function clear() {
    groups.clear();
    opened.clear();
    list.replaceChildren();
  }

  return {
    element,
    shown() {
      visible = true;
      seen = store.stats?.errors ?? null;
      text(said, "");
      clear();
      load();
    },
    hidden() {
      visible = false;
    },
    ids: () => [...new Set([...groups.values()].flatMap((group) => group.ids()))],
  };
}

/** "143 permanently failed messages in 3 groups." @param {number} total @param {number} groups */
function summary(total, groups) {
  return `${plural(total, "permanently failed message")}${total > 1 ? ` in ${plural(groups, "group")}` : ""}.`;
}
