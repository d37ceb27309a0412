// The Errors view: the dead letters, each with what happened and where the original record stands.

import { api } from "./api.js";
import { h, icon, show } from "./dom.js";
import { clock, plural, sentence } from "./format.js";
import { sagaAddress } from "./router.js";
import { store, subscribe } from "./store.js";
import { PAGE, Pages } from "./table.js";

const HEADS = [
  ["When", "c-at"],
  ["Saga", "c-id"],
  ["Step", "c-step"],
  ["What went wrong", "c-reason"],
  ["Attempts", "c-attempts"],
  ["Record", "c-record"],
];

export function errors() {
  const body = h("tbody");
  const table = h(
    "table",
    { class: "errors-table", "aria-label": "Dead letters" },
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        HEADS.map(([label, key]) => h("th", { scope: "col", class: key }, label)),
      ),
    ),
    body,
  );
  const empty = h(
    "div",
    { class: "empty good", hidden: true },
    icon("check"),
    h("p", { class: "big" }, "No errors."),
    h("p", {}, "What a service cannot handle comes here, with its reason, and waits for you."),
  );
  const pages = new Pages({
    fetch: (cursor, signal) => api.errors({ department: store.department, limit: PAGE, cursor }, signal),
    draw: (items) => {
      body.replaceChildren(...items.map(line));
      show(table, items.length > 0);
    },
    empty,
  });
  const scroller = h(
    "div",
    { class: "table-scroll", tabindex: "0", role: "region", "aria-label": "Dead letters" },
    table,
    empty,
  );
  const intro = h(
    "p",
    { class: "intro" },
    "Dead letters: records that a service could not handle. Each saga here is parked, and waits for somebody.",
  );
  const element = h("div", { class: "errors" }, intro, pages.broken, scroller, pages.pager);
  pages.onstate = (state) => element.classList.toggle("loading", state === "loading");
  let visible = false;
  let seen = null;

  subscribe((changed) => {
    if (!visible) return;
    if (changed.has("department")) pages.restart();
    else if (changed.has("stats") && store.stats.errors !== seen) {
      seen = store.stats.errors;
      pages.load(true);
    }
  });

  return {
    element,
    shown() {
      visible = true;
      seen = store.stats?.errors ?? null;
      pages.restart();
    },
    hidden() {
      visible = false;
    },
    ids: () => [...new Set(pages.items.map((item) => item.id).filter(Boolean))],
  };
}

function line(item) {
  const record = `${item.topic}[${item.partition}]@${item.offset}`;
  return h(
    "tr",
    {},
    h("td", { class: "c-at" }, h("time", { datetime: item.at }, clock(item.at))),
    h(
      "th",
      { scope: "row", class: "c-id mono" },
      item.id ? h("a", { href: sagaAddress(item.id) }, item.id) : h("span", { class: "none" }, "unreadable"),
    ),
    h("td", { class: "c-step" }, sentence(item.service), h("span", { class: "sub" }, item.step)),
    h(
      "td",
      { class: "c-reason" },
      h("span", { class: "chip", "data-meaning": "trouble" }, icon("warn"), item.error),
      h("span", { class: "sub" }, item.reason),
    ),
    h("td", { class: "c-attempts" }, plural(item.attempts, "attempt")),
    h("td", { class: "c-record mono" }, record),
  );
}
