// Announces arrivals to screen readers, in batches.

import { $ } from "../core/dom.js";
import { duration, plural } from "../core/format.js";
import { stateOf } from "../core/plan.js";
import { store, subscribe } from "../core/store.js";
import { passes } from "./department_filter.js";

const PAUSE_MS = 3000;

export function announce() {
  /** @type {Set<string>} */
  const known = new Set();
  /** @type {Saga[]} */
  let news = [];
  let timer = 0;

  const announceNews = () => {
    timer = 0;
    const [latest] = news;
    const count = news.length > 1 ? `${plural(news.length, "user")} arrived. Latest: ` : "";
    $("#announce").textContent =
      `${count}${latest.user.name}, ${stateOf(latest).label.toLowerCase()}, ${duration(latest.duration)}`;
    news = [];
  };
  subscribe((changed) => {
    if (!changed.has("arrivals")) return;
    const fresh = store.arrivals.filter((row) => !known.has(row.id) && passes(row));
    known.clear();
    for (const { id } of store.arrivals) known.add(id);
    if (changed.has("loaded")) return; // these ended before the page loaded
    news = [...fresh, ...news];
    if (news.length && !timer) timer = setTimeout(announceNews, PAUSE_MS);
  });
}
