// Many dead letters at once: in one request if that is quick, else in portions: one sees how far it is, and can stop.

import { api } from "../core/api.js";
import { by } from "../core/operator.js";

/** What takes longer than this is sent in portions, and how long one takes. Seconds. */
const QUICK_S = 5;
const PORTION_S = 2;
const PAGE = 500;

export const isQuick = (count, rate) => count <= rate * QUICK_S;

/**
 * Redrive or roll back all that fits the filter, so many a second. `on.sent(n)` is told after every portion, and
 * `on.stopped()` asked before the next. Answers how many it were, and why others were not; raises `Problem`.
 */
export async function sendAll(intent, { filter, count, rate }, on) {
  if (isQuick(count, rate)) return api.intervene(intent, { filter, rate, ...by() });
  const names = await gather(filter);
  const size = Math.ceil(rate * PORTION_S);
  const all = { count: 0, left_out: {} };
  for (let from = 0; from < names.length && !on.stopped(); from += size) {
    const ids = names.slice(from, from + size);
    const sent = api.intervene(intent, { ids, rate, ...by() });
    const [answer] = await Promise.all([sent, atLeast((ids.length / rate) * 1000)]);
    add(all, answer);
    on.sent(all.count);
  }
  return all;
}

/** The names of all dead letters that fit, before the first of them goes. */
async function gather(filter) {
  const names = [];
  let cursor = null;
  do {
    const { items, next } = await api.errors({ ...filter, limit: PAGE, cursor });
    names.push(...items.map((item) => item.name));
    cursor = next;
  } while (cursor);
  return names;
}

function add(all, { count, left_out: reasons = {} }) {
  all.count += count;
  for (const [reason, number] of Object.entries(reasons)) all.left_out[reason] = (all.left_out[reason] ?? 0) + number;
}

const atLeast = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
