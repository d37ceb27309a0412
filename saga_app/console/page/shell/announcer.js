// Arrivals, told to a screen reader: politely, and a few at a time.

import { $ } from "../core/dom.js";
import { duration, plural } from "../core/format.js";
import { stateOf } from "../core/plan.js";
import { store, subscribe } from "../core/store.js";
import { passes } from "./department_filter.js";

const PAUSE_MS = 3000;

export function announce() {
  const known = new Set();
  let news = [];
  let timer = 0;

  const tell = () => {
    timer = 0;
    const [latest] = news;
    const count = news.length > 1 ? `${plural(news.length, "user")} arrived. The latest: ` : "";
    $("#announce").textContent =
      `${count}${latest.user.name}, ${stateOf(latest).label.toLowerCase()}, ${duration(latest.duration)}`;
    news = [];
  };
  subscribe((changed) => {
    if (!changed.has("arrivals")) return;
    const fresh = store.arrivals.filter((row) => !known.has(row.id) && passes(row));
    known.clear();
    store.arrivals.forEach((row) => known.add(row.id));
    if (changed.has("loaded")) return; // they arrived before this page was looking
    news = [...fresh, ...news];
    if (news.length && !timer) timer = setTimeout(tell, PAUSE_MS);
  });
}
