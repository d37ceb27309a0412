// The page's shared state. Views read `store` and subscribe to changes, delivered at most once per animation frame.

import { hasEnded, inMotion } from "./plan.js";

const ARRIVALS_KEPT = 200;
/** How long a finished row stays in its lane before it moves to the arrivals. Milliseconds. */
const LINGER_MS = { ended: 2200, parked: 6000 };

export const store = {
  trace: localStorage.getItem("saga.trace") !== "off",
  department: "",
  stats: /** @type {Stats | null} */ (null),
  /** Sagas on the Live view by id, while the trace is on. */
  travellers: /** @type {Map<string, Traveller>} */ (new Map()),
  /** Ended sagas, newest first. */
  arrivals: /** @type {Saga[]} */ ([]),
  connection: /** @type {Connection} */ ({ state: "loading", since: 0, nextTry: 0 }),
};

/** @type {Set<(changed: Set<StorePart>) => unknown>} */
const listeners = new Set();
/** @type {Set<StorePart>} */
let changed = new Set();
let isScheduled = false;

/**
 * Call `listener` with the names of the parts that have changed.
 * @param {(changed: Set<StorePart>) => unknown} listener
 */
export function subscribe(listener) {
  listeners.add(listener);
}

/**
 * Notify the subscribers that these parts have changed.
 * @param {...StorePart} parts
 */
export function touch(...parts) {
  for (const part of parts) changed.add(part);
  if (isScheduled) return;
  isScheduled = true;
  // A hidden page gets no animation frames. The timeout prevents changes from accumulating until it is visible again.
  if (document.hidden) setTimeout(flush, 250);
  else requestAnimationFrame(flush);
}

function flush() {
  const parts = changed;
  changed = new Set();
  isScheduled = false;
  for (const listener of listeners) listener(parts);
}

/** @param {boolean} on */
export function setTrace(on) {
  store.trace = on;
  localStorage.setItem("saga.trace", on ? "on" : "off");
  if (!on) {
    for (const { row } of store.travellers.values()) if (hasEnded(row)) arrive(row);
    store.travellers.clear();
  }
  touch("trace", "travellers", "arrivals");
}

/** @param {string} department */
export function setDepartment(department) {
  store.department = department;
  touch("department", "travellers", "arrivals");
}

/** @param {Partial<Connection>} connection */
export function setConnection(connection) {
  store.connection = { ...store.connection, ...connection };
  touch("connection");
}

/** @param {Stats} stats */
export function setStats(stats) {
  store.stats = stats;
  touch("stats");
}

/**
 * Replace the sagas with a snapshot from the server.
 * @param {Saga[]} ended
 * @param {Saga[]} underWay
 */
export function loaded(ended, underWay) {
  store.arrivals = ended.filter(hasEnded).slice(0, ARRIVALS_KEPT);
  const before = store.travellers;
  store.travellers = new Map(
    underWay.map((row) => [row.id, { row, signals: before.get(row.id)?.signals ?? [], leavesAt: 0 }]),
  );
  touch("loaded", "travellers", "arrivals");
}

/**
 * Apply a `step` event.
 * @param {StepEvent} event
 */
export function stepped({ entry, saga }) {
  if (!store.trace || !saga) return;
  const traveller = store.travellers.get(saga.id);
  if (!traveller && !inMotion(saga) && entry?.kind !== "parked") return; // late event of a saga that has left the view
  note(saga, entry);
}

/**
 * Apply a `saga` event: the saga has ended.
 * @param {Saga} row
 */
export function ended(row) {
  if (store.trace && store.travellers.has(row.id)) note(row, null);
  else if (hasEnded(row)) arrive(row);
}

/** @param {Saga} row @param {TraceEntry | null} entry */
function note(row, entry) {
  const traveller = store.travellers.get(row.id) ?? { row, signals: [], leavesAt: 0 };
  if (isCurrent(row, traveller.row)) traveller.row = row;
  if (entry?.kind === "failed") keepSignal(traveller.signals, entry);
  if (entry?.kind === "redriven") traveller.signals = []; // a redrive restarts the count of attempts
  if (traveller.leavesAt === 0 || inMotion(traveller.row)) traveller.leavesAt = leavingTime(traveller.row);
  store.travellers.set(row.id, traveller);
  if (traveller.leavesAt) settleSoon();
  touch("travellers");
}

/** @param {FailedAttempt[]} signals @param {TraceEntry} entry */
function keepSignal(signals, { step, attempt, at, data }) {
  const isKept = signals.some((other) => other.step === step && other.attempt === attempt && other.at === at);
  if (!isKept) signals.push({ step, attempt, at, .../** @type {Partial<Trouble>} */ (data) });
}

/** @param {Saga} row */
function leavingTime(row) {
  if (inMotion(row)) return 0;
  return performance.now() + (row.state === "parked" ? LINGER_MS.parked : LINGER_MS.ended);
}

/**
 * Whether `next` is at least as advanced as `row`: events can arrive twice after a reconnection.
 * @param {Saga} next
 * @param {Saga} row
 */
function isCurrent(next, row) {
  /** @param {Saga} saga */
  const progress = (saga) => [hasEnded(saga) ? 1 : 0, saga.history?.length ?? 0, Date.parse(saga.updated_at) || 0];
  const [a, b] = [progress(row), progress(next)];
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return b[i] > a[i];
  return true;
}

/** @param {Saga} row */
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

let settleTimer = 0;

function settleSoon() {
  settleTimer ||= setInterval(settle, 200);
}

/** Move the travellers whose time has come to the arrivals. */
function settle() {
  const now = performance.now();
  let isPending = false;
  for (const [id, { row, leavesAt }] of store.travellers) {
    if (!leavesAt) continue;
    if (leavesAt > now) {
      isPending = true;
      continue;
    }
    store.travellers.delete(id);
    if (hasEnded(row)) arrive(row);
    touch("travellers");
  }
  if (isPending) return;
  clearInterval(settleTimer);
  settleTimer = 0;
}
