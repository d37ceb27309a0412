// The Errors view: what the services could not handle, by kind, and how each is brought to an end.

import { api } from "../core/api.js";
import { h, icon, show, text } from "../core/dom.js";
import { isFocusLost } from "../core/focus.js";
import { number, plural } from "../core/format.js";
import { signature } from "../core/operator.js";
import { complaint } from "../core/problem_box.js";
import { store, subscribe } from "../core/store.js";
import { ask, howMany } from "./confirm.js";
import { Group, keyOf } from "./dead_letter_group.js";

const FRESHEN_MS = 2000;

export function errors() {
  const list = h("ul", { class: "groups", "aria-label": "Dead letters by kind" });
  const intro = h("p", { class: "intro" });
  const redrive = h("button", { type: "button", onclick: () => act("redrive") }, icon("retry"), "Redrive all…");
  const rollback = h("button", { type: "button", onclick: () => act("rollback") }, icon("back"), "Roll back all…");
  const tools = h("div", { class: "tools" }, redrive, rollback, signature("Signed as"));
  const said = h("p", { class: "said", role: "status", tabindex: "-1" });
  const broken = h("div", { class: "broken", role: "alert", hidden: true });
  const empty = h(
    "div",
    { class: "empty good", hidden: true },
    icon("check"),
    h("p", { class: "big" }, "No errors."),
    h("p", {}, "Messages that fail permanently are parked here with the reason, until you redrive them or roll back."),
  );
  const element = h("div", { class: "errors", tabindex: "-1" }, intro, tools, said, broken, list, empty);
  const groups = new Map();
  /** The kinds that went away while they were open: they come back open. */
  const opened = new Set();
  let visible = false;
  let seen = null;
  let turn = 0;

  const filter = () => (store.department ? { department: store.department } : {});

  async function load(quietly = false) {
    const mine = ++turn;
    element.classList.toggle("loading", !quietly);
    try {
      const answer = await api.errors({ ...filter(), group: true });
      if (mine === turn) draw(answer);
    } catch (problem) {
      if (mine === turn && !quietly) fail(problem);
    }
    element.classList.remove("loading");
  }

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
    text(intro, waiting(total, items.length));
    if (first && items.length === 1) groups.values().next().value.turn(true);
    if (focused && isFocusLost()) (said.textContent ? said : element).focus();
  }

  /** A group keeps its place while one reads; a new kind comes last. */
  function put(item) {
    const group = groups.get(keyOf(item));
    if (group) return group.update(item);
    const fresh = new Group(item, filter, say);
    groups.set(keyOf(item), fresh);
    list.append(fresh.element);
    if (opened.delete(keyOf(item))) fresh.turn(true);
  }

  function fail(problem) {
    const again = h("button", { type: "button", onclick: () => load() }, "Try again");
    broken.replaceChildren(...complaint(problem, "This could not be loaded", again));
    show(broken, true);
  }

  function say(sentence) {
    text(said, sentence);
    if (isFocusLost()) said.focus();
    load(true);
  }

  async function act(intent) {
    const where = store.department ? ` in ${store.department}` : "";
    const verb = intent === "redrive" ? "Redrive" : "Roll back";
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
    } else if (changed.has("stats") && store.stats.errors !== seen) {
      seen = store.stats.errors;
      load(true);
    }
  });

  /** What fails again at once leaves the number as it was. */
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

/** "143 permanently failed messages, of 3 kinds." */
function waiting(total, kinds) {
  const kind = kinds === 1 ? "all for the same reason" : `of ${number(kinds)} kinds`;
  return `${plural(total, "permanently failed message")}${total > 1 ? `, ${kind}` : ""}.`;
}
