// Where a saga's time went, lane by lane: pure geometry of time, no elements. All times here are milliseconds.

import { hasEnded, inMotion, isUndo, laneOf } from "../core/plan.js";

/** The share of a lane that a step of usual length fills; what takes longer creeps on, and never seems to have arrived. */
const USUAL = 0.8;
const REST = 0.17;

/** How far along its lane (0 to 1) a step is that began `ms` ago, when steps usually take up to `usual` ms. */
export function progress(ms, usual) {
  if (ms <= 0) return 0;
  return ms < usual ? (USUAL * ms) / usual : USUAL + REST * (1 - Math.exp(-(ms - usual) / (2 * usual)));
}

/**
 * The forward legs of a saga: `{lane, step, asked, answered, outcome, attempts, visit}`; the last one is open
 * (`answered` is null) while the saga waits for that step.
 */
export function legs(row) {
  const forward = [];
  let asked = Date.parse(row.started_at);
  for (const visit of row.history ?? []) {
    const answered = Date.parse(visit.ended_at);
    if (!isUndo(visit.step)) {
      forward.push({
        lane: laneOf(visit.step),
        step: visit.step,
        asked,
        answered,
        outcome: visit.outcome,
        attempts: visit.attempts,
        visit,
      });
    }
    asked = answered;
  }
  if (!hasEnded(row) && !isUndo(row.step)) {
    forward.push({
      lane: laneOf(row.step),
      step: row.step,
      asked,
      answered: null,
      outcome: null,
      attempts: 1,
      visit: null,
    });
  }
  return forward;
}

/** What has been undone: step -> visit. */
export function undone(row) {
  return new Map((row.history ?? []).filter((visit) => isUndo(visit.step)).map((visit) => [visit.step, visit]));
}

/**
 * The lane from which a saga goes back, or null: the one in which it turned. When an operator turned it round, steps
 * still ahead of it are undone too, for they may have been done unheard of; then it is the farthest of those.
 */
export function turnOf(row) {
  const history = row.history ?? [];
  const at = history.findIndex((visit) => TURNS.has(visit.outcome) && !isUndo(visit.step));
  if (at < 0) return null;
  const steps = [...history.slice(at).map((visit) => visit.step), row.step];
  return Math.max(...steps.map(laneOf));
}

const TURNS = new Set(["denied", "failed", "cancelled"]);

/** Since when the saga has been waiting for the step it is at. */
export function askedAt(row) {
  const last = row.history?.at(-1);
  return Date.parse(last ? last.ended_at : row.started_at);
}

/**
 * The stretches of a leg: `{kind: "wait"|"work"|"retry", from, to}` in ms since it was asked for; `to` is Infinity for the last
 * of an open one. Nothing on the wire says when a service takes a request up, so for an open leg that is what the
 * latest answers of that step took (`usualWait`), until its own answer tells.
 */
export function stretches(leg, signals, usualWait) {
  const start = leg.visit ? Date.parse(leg.visit.started_at) - leg.asked : usualWait;
  const end = leg.answered == null ? Infinity : leg.answered - leg.asked;
  const out = [];
  let from = Math.max(0, Math.min(start, end));
  if (from > 0) out.push({ kind: "wait", from: 0, to: from });
  for (const signal of signals.filter((s) => s.step === leg.step)) {
    const failed = Math.min(end, Math.max(from, Date.parse(signal.at) - leg.asked));
    const again = Math.min(end, signal.next_at ? Math.max(failed, Date.parse(signal.next_at) - leg.asked) : failed);
    out.push({ kind: "work", from, to: failed }, { kind: "retry", from: failed, to: again });
    from = again;
  }
  out.push({ kind: "work", from, to: end });
  return out.filter((stretch) => stretch.to > stretch.from);
}

/** Where the token is: `{lane, along 0..1, back: on the line below}`. */
export function place(row, now, usual) {
  if (row.state === "completed") return { lane: 3, along: 1, back: false };
  if (row.state === "rolled-back") return { lane: 0, along: 0, back: true };
  if (row.state === "rollback-incomplete") return { lane: stuckIn(row), along: 0, back: true };
  const along = progress((inMotion(row) ? now : Date.parse(row.updated_at)) - askedAt(row), usual);
  const back = isUndo(row.step);
  return { lane: laneOf(row.step), along: back ? 1 - along : along, back };
}

/** The lane of the undo that failed for good; the others went on without it. */
function stuckIn(row) {
  const failed = (row.history ?? []).find((visit) => isUndo(visit.step) && visit.outcome !== "done");
  return failed ? laneOf(failed.step) : 0;
}
