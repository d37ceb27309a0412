// How long steps usually wait and take: the time scale on which all rows are drawn.

import { store } from "../core/store.js";

const LEAST_MS = 400;
const DEFAULT_MS = 2500;
/** How many waits are kept per step. */
const REMEMBERED = 15;

/**
 * Step -> its latest waits (ms).
 * @type {Map<string, number[]>}
 */
const waits = new Map();

/**
 * Record how long the last finished step of this saga waited before a service worked on it.
 * @param {Saga} row
 */
export function learnPace(row) {
  const visits = row.history ?? [];
  const last = visits.at(-1);
  if (!last) return;
  const requestedAt = Date.parse(visits.at(-2)?.ended_at ?? row.started_at);
  const list = waits.get(last.step) ?? [];
  waits.set(last.step, list);
  list.push(Math.max(0, Date.parse(last.started_at) - requestedAt));
  if (list.length > REMEMBERED) list.shift();
}

/**
 * The median of the latest waits (ms) for this step; Infinity while its service is down.
 * @param {string} step
 * @param {string} service
 */
export function usualWait(step, service) {
  if (store.stats?.services?.[service]?.up === false) return Infinity;
  const list = waits.get(step);
  return list?.length ? [...list].sort((a, b) => a - b)[list.length >> 1] : 0;
}

/** The time (ms) that fills most of a lane, from the lag (s) configured for the services: "0.5-2.0" or "0". */
export function usualTime() {
  const bounds = String(store.stats?.lag ?? "").split("-");
  const longest = Number.parseFloat(bounds[bounds.length - 1]);
  return Number.isNaN(longest) ? DEFAULT_MS : Math.max(LEAST_MS, longest * 1250);
}
