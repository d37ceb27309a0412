// The one state of the page. Views read it and are told, once an animation frame at most, what has changed.

import { hasEnded, inMotion } from "./plan.js";

const ARRIVALS_KEPT = 200;
/** How long a finished row stays where it finished, before it settles into the arrivals. Milliseconds. */
const LINGER_MS = { ended: 2200, parked: 6000 };

export const store = {
  trace: localStorage.getItem("saga.trace") !== "off",
  department: "",
  stats: null,
  /** With the trace on: id -> {row, signals: [failed attempts of the step under way], leavesAt}. */
  travellers: new Map(),
  /** Rows that have ended, newest first. */
  arrivals: [],
  /** What is known of the server: "loading", "live" or "lost"; since when, and when the next try is (ms). */
  connection: { state: "loading", since: 0, nextTry: 0 },
};

const listeners = new Set();
let changed = new Set();
let scheduled = false;

/** Call `listener(changed)` with the names of the parts that have changed. */
export function subscribe(listener) {
  listeners.add(listener);
}

export function touch(...parts) {
  parts.forEach((part) => changed.add(part));
  if (scheduled) return;
  scheduled = true;
  // A hidden page gets no animation frames, and must not heap up work for the moment it is shown.
  if (document.hidden) setTimeout(flush, 250);
  else requestAnimationFrame(flush);
}

function flush() {
  const parts = changed;
  changed = new Set();
  scheduled = false;
  for (const listener of listeners) listener(parts);
}

export function setTrace(on) {
  store.trace = on;
  localStorage.setItem("saga.trace", on ? "on" : "off");
  if (!on) {
    for (const { row } of store.travellers.values()) if (hasEnded(row)) arrive(row);
    store.travellers.clear();
  }
  touch("trace", "travellers", "arrivals");
}

export function setDepartment(department) {
  store.department = department;
  touch("department", "travellers", "arrivals");
}

export function setConnection(connection) {
  store.connection = { ...store.connection, ...connection };
  touch("connection");
}

export function setStats(stats) {
  store.stats = stats;
  touch("stats");
}

/** What the server has now, loaded afresh. */
export function loaded(ended, underWay) {
  store.arrivals = ended.filter(hasEnded).slice(0, ARRIVALS_KEPT);
  const before = store.travellers;
  store.travellers = new Map(
    underWay.map((row) => [row.id, { row, signals: before.get(row.id)?.signals ?? [], leavesAt: 0 }]),
  );
  touch("loaded", "travellers", "arrivals");
}

/** A record of a saga has been read, with the trace on. */
export function stepped({ entry, saga }) {
  if (!store.trace || !saga) return;
  const traveller = store.travellers.get(saga.id);
  if (!traveller && !inMotion(saga) && entry?.kind !== "parked") return; // an echo of one that has settled
  note(saga, entry);
}

/** A saga has ended. */
export function ended(row) {
  if (store.trace && store.travellers.has(row.id)) note(row);
  else if (hasEnded(row)) arrive(row);
}

function note(row, entry) {
  const traveller = store.travellers.get(row.id) ?? { row, signals: [], leavesAt: 0 };
  if (further(traveller.row, row)) traveller.row = row;
  if (entry?.kind === "failed") keepSignal(traveller.signals, entry);
  if (entry?.kind === "redriven") traveller.signals = []; // its attempts are counted from one again
  if (traveller.leavesAt === 0 || inMotion(traveller.row)) traveller.leavesAt = leaving(traveller.row);
  store.travellers.set(row.id, traveller);
  if (traveller.leavesAt) settleSoon();
  touch("travellers");
}

function keepSignal(signals, entry) {
  const same = (other) => other.step === entry.step && other.attempt === entry.attempt && other.at === entry.at;
  if (!signals.some(same)) signals.push({ step: entry.step, attempt: entry.attempt, at: entry.at, ...entry.data });
}

function leaving(row) {
  if (inMotion(row)) return 0;
  return performance.now() + (row.state === "parked" ? LINGER_MS.parked : LINGER_MS.ended);
}

/** Whether `news` is at least as far along as `row`: events may come twice after a reconnection. */
function further(row, news) {
  const rank = (r) => [hasEnded(r) ? 1 : 0, r.history?.length ?? 0, Date.parse(r.updated_at) || 0];
  const [a, b] = [rank(row), rank(news)];
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return b[i] > a[i];
  return true;
}

function arrive(row) {
  const at = store.arrivals.findIndex((other) => other.id === row.id);
  if (at >= 0) {
    store.arrivals[at] = row;
  } else {
    const place = store.arrivals.findIndex((other) => (other.ended_at ?? "") <= (row.ended_at ?? ""));
    store.arrivals.splice(place < 0 ? store.arrivals.length : place, 0, row);
    store.arrivals.length = Math.min(store.arrivals.length, ARRIVALS_KEPT);
  }
  touch("arrivals");
}

let settling = 0;

function settleSoon() {
  settling ||= setInterval(settle, 200);
}

function settle() {
  const now = performance.now();
  let waiting = false;
  for (const [id, { row, leavesAt }] of store.travellers) {
    if (!leavesAt) continue;
    if (leavesAt > now) {
      waiting = true;
      continue;
    }
    store.travellers.delete(id);
    if (hasEnded(row)) arrive(row);
    touch("travellers");
  }
  if (!waiting) settling = clearInterval(settling) ?? 0;
}
