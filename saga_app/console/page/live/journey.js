// Where a saga spent its time, per lane: pure functions without DOM access. All times are in milliseconds.

import { hasEnded, inMotion, isCompensating, isCompensation, isKnown, laneOf, lastLane } from "../core/plan.js";

/** The share of a lane that a step of usual length fills. A slower step approaches `USUAL + REST`, never the end. */
const USUAL = 0.8;
const REST = 0.17;

/**
 * One forward step of a saga. An open leg has no result yet (`endedAt` is null).
 * @typedef {{lane: number, step: string, requestedAt: number, attempts: number}} LegBase
 * @typedef {LegBase & {endedAt: number, outcome: Visit["outcome"], visit: Visit}} ClosedLeg
 * @typedef {LegBase & {endedAt: null, outcome: null, visit: null}} OpenLeg
 * @typedef {ClosedLeg | OpenLeg} SagaLeg
 */

/**
 * A part of a leg, in ms since its request.
 * @typedef {{kind: "wait" | "work" | "retry", from: number, to: number}} Stretch
 */

/**
 * The position of a saga's token: how far along (0 to 1) its lane, and whether on the rollback line below (`back`).
 * @typedef {{lane: number, along: number, back: boolean}} Position
 */

/**
 * How far along its lane (0 to 1) a step is that began `ms` ago, if steps usually take up to `usual` ms.
 * @param {number} ms
 * @param {number} usual
 */
export function progress(ms, usual) {
  if (ms <= 0) return 0;
  return ms < usual ? (USUAL * ms) / usual : USUAL + REST * (1 - Math.exp(-(ms - usual) / (2 * usual)));
}

/**
 * The forward legs of a saga, in order. The last one is open while the saga waits for a forward step. A step that is
 * not in the plan is in the lane after the step before it.
 * @param {Saga} row
 */
export function legs(row) {
  /** @type {SagaLeg[]} */
  const forward = [];
  const laneAfterLast = (/** @type {string} */ step) =>
    isKnown(step) ? laneOf(step) : Math.min((forward.at(-1)?.lane ?? -1) + 1, lastLane());
  let requestedAt = Date.parse(row.started_at);
  let isRollback = false;
  for (const visit of row.history ?? []) {
    const { step, outcome, attempts } = visit;
    const endedAt = Date.parse(visit.ended_at);
    if (!isCompensation(step) && (isKnown(step) || !isRollback)) {
      forward.push({ lane: laneAfterLast(step), step, requestedAt, endedAt, outcome, attempts, visit });
      isRollback ||= TURNS.has(outcome);
    }
    requestedAt = endedAt;
  }
  if (!hasEnded(row) && !isCompensating(row)) {
    const { step } = row;
    forward.push({
      lane: laneAfterLast(step),
      step,
      requestedAt,
      endedAt: null,
      outcome: null,
      attempts: 1,
      visit: null,
    });
  }
  return forward;
}

/**
 * The compensations that have been executed: step -> visit.
 * @param {Saga} row
 */
export function compensated(row) {
  return new Map((row.history ?? []).filter(({ step }) => isCompensation(step)).map((visit) => [visit.step, visit]));
}

/**
 * The lane in which the rollback starts, or null without a rollback. It is the lane of the step that failed. After an
 * operator's rollback it can be a later lane: steps without a result may have taken effect and are compensated too.
 * @param {Saga} row
 */
export function turnOf(row) {
  const history = row.history ?? [];
  const at = history.findIndex((visit) => TURNS.has(visit.outcome) && !isCompensation(visit.step));
  if (at < 0) return null;
  const steps = [...history.slice(at).map((visit) => visit.step), row.step];
  return Math.max(...steps.map(laneOf));
}

/** The outcomes of a forward step that start a rollback. */
const TURNS = new Set(["denied", "failed", "cancelled"]);

/**
 * When the current step was requested.
 * @param {Saga} row
 */
export function requestedAt(row) {
  const last = row.history?.at(-1);
  return Date.parse(last ? last.ended_at : row.started_at);
}

/**
 * The stretches of a leg, in order; the last stretch of an open leg ends at Infinity. No event reports when a service
 * starts to work on a request. For an open leg, that time is estimated as `usualWait`, the usual wait for its step.
 * @param {SagaLeg} leg
 * @param {FailedAttempt[]} signals
 * @param {number} usualWait
 */
export function stretches(leg, signals, usualWait) {
  const start = leg.visit ? Date.parse(leg.visit.started_at) - leg.requestedAt : usualWait;
  const end = leg.endedAt == null ? Infinity : leg.endedAt - leg.requestedAt;
  /** @type {Stretch[]} */
  const out = [];
  let from = Math.max(0, Math.min(start, end));
  if (from > 0) out.push({ kind: "wait", from: 0, to: from });
  for (const signal of signals.filter((s) => s.step === leg.step)) {
    const failed = Math.min(end, Math.max(from, Date.parse(signal.at) - leg.requestedAt));
    const again = Math.min(
      end,
      signal.next_at ? Math.max(failed, Date.parse(signal.next_at) - leg.requestedAt) : failed,
    );
    out.push({ kind: "work", from, to: failed }, { kind: "retry", from: failed, to: again });
    from = again;
  }
  out.push({ kind: "work", from, to: end });
  return out.filter((stretch) => stretch.to > stretch.from);
}

/**
 * The position of the saga's token at the time `now`, if steps usually take up to `usual` ms.
 * @param {Saga} row
 * @param {number} now
 * @param {number} usual
 * @returns {Position}
 */
export function place(row, now, usual) {
  if (row.state === "completed") return { lane: lastLane(), along: 1, back: false };
  if (row.state === "rolled-back") return { lane: 0, along: 0, back: true };
  if (row.state === "rollback-incomplete") return { lane: stuckIn(row), along: 0, back: true };
  const along = progress((inMotion(row) ? now : Date.parse(row.updated_at)) - requestedAt(row), usual);
  const back = isCompensating(row);
  const lane = isKnown(row.step) ? laneOf(row.step) : (legs(row).at(-1)?.lane ?? 0);
  return { lane, along: back ? 1 - along : along, back };
}

/**
 * The lane of the first compensation that failed permanently. The remaining compensations run in spite of it.
 * @param {Saga} row
 */
function stuckIn(row) {
  const failed = (row.history ?? []).find((visit) => isCompensation(visit.step) && visit.outcome !== "done");
  return failed ? laneOf(failed.step) : 0;
}
