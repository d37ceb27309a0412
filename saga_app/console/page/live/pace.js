// How long steps usually take and wait just now: the scale on which every row is drawn.

import { store } from "../core/store.js";

const LEAST_MS = 400;
const DEFAULT_MS = 2500;
const REMEMBERED = 15;

/** step -> the latest waiting times (ms), and the sagas that they come from. */
const waits = new Map();

/** Learn how long the step that has just been answered had to wait before it was worked on. */
export function learnPace(row) {
  const visits = row.history ?? [];
  const last = visits.at(-1);
  if (!last) return;
  const asked = Date.parse(visits.length > 1 ? visits.at(-2).ended_at : row.started_at);
  const list = waits.get(last.step) ?? waits.set(last.step, []).get(last.step);
  list.push(Math.max(0, Date.parse(last.started_at) - asked));
  if (list.length > REMEMBERED) list.shift();
}

/** The median wait for this step lately; without end while its service is down. */
export function usualWait(step, service) {
  if (store.stats?.services?.[service]?.up === false) return Infinity;
  const list = waits.get(step);
  return list?.length ? [...list].sort((a, b) => a - b)[list.length >> 1] : 0;
}

/** The time (ms) that fills most of a lane: from the lag that the services are set to, "0.5-2.0" or "0". */
export function usualTime() {
  const longest = Number.parseFloat(
    String(store.stats?.lag ?? "")
      .split("-")
      .at(-1),
  );
  return Number.isNaN(longest) ? DEFAULT_MS : Math.max(LEAST_MS, longest * 1250);
}
