// Redrive or roll back many dead letters: in one request if that is quick, else in batches, with progress and a stop.

import { api } from "../core/api.js";
import { by } from "../core/operator.js";

/** Up to this expected duration, one request; above it, batches of BATCH_S each. */
const QUICK_S = 5;
const BATCH_S = 2;
const PAGE = 500;

/** @param {number} count @param {number} rate messages per second */
export const isQuick = (count, rate) => count <= rate * QUICK_S;

/**
 * Redrive or roll back every dead letter that matches the filter, at `rate` per second. Throws a `Problem`.
 * @param {Intent} intent @param {{ filter: ErrorFilter, count: number, rate: number }} wanted
 * @param {{ sent: (count: number) => void, stopped: () => boolean }} on `sent`: called after each batch with the total;
 *   `stopped`: checked before each batch
 * @returns {Promise<Applied>}
 */
export async function sendAll(intent, { filter, count, rate }, on) {
  if (isQuick(count, rate)) return api.intervene(intent, { filter, rate, ...by() });
  const names = await gather(filter);
  const size = Math.ceil(rate * BATCH_S);
  /** @type {Required<Pick<Applied, "count" | "left_out">>} */
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

/** The names of all matching dead letters, collected before the first batch is sent. @param {ErrorFilter} filter */
async function gather(filter) {
  /** @type {string[]} */
  const names = [];
  /** @type {string | null} */
  let cursor = null;
  do {
    /** @type {Page<DeadLetterItem>} */
    const { items, next } = await api.errors({ ...filter, limit: PAGE, cursor });
    names.push(...items.map((item) => item.name));
    cursor = next;
  } while (cursor);
  return names;
}

/** @param {Required<Pick<Applied, "count" | "left_out">>} all @param {Applied} answer */
function add(all, { count, left_out: reasons = {} }) {
  all.count += count;
  for (const [reason, number] of Object.entries(reasons)) all.left_out[reason] = (all.left_out[reason] ?? 0) + number;
}

/** @param {number} ms */
const atLeast = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
