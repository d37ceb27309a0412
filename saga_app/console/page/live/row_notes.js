// The texts of a row, without DOM access.

import { countdown } from "../core/format.js";
import { inMotion, isCompensating, stateOf } from "../core/plan.js";
import { requestedAt } from "./journey.js";

/**
 * "attempt 2 of 5 in 3 s" before the next attempt of a failed step, "attempt 2 of 5" during it, otherwise null.
 * @param {Saga} row
 * @param {FailedAttempt[]} signals
 * @param {number} now the server's time (ms)
 */
export function retrying(row, signals, now) {
  const since = requestedAt(row);
  const last = [...signals, row.trouble].findLast(
    (signal) => signal && signal.kind !== "overdue" && signal.step === row.step && Date.parse(signal.at) >= since - 1,
  );
  if (!last?.next_at) return null;
  const attempt = `attempt ${last.attempt + 1} of ${last.attempts}`;
  const wait = (Date.parse(last.next_at) - now) / 1000;
  return wait > 0 ? `${attempt} in ${countdown(wait)}` : attempt;
}

/**
 * The line under the name of the user.
 * @param {Saga} row
 */
export function remark(row) {
  if (row.overdue && inMotion(row)) return `${row.user.department} · overdue`;
  if (row.state === "rolling-back" || row.state === "rolled-back") return row.reason ?? row.user.department;
  if (row.state === "parked") return `parked: ${row.reason ?? "waiting for an operator"}`;
  return row.user.department;
}

/**
 * The line under the duration.
 * @param {Saga} row
 */
export function result(row) {
  if (row.state === "completed") return row.overtook ? `overtook ${row.overtook}` : "done";
  if (row.state === "running") return isCompensating(row) ? "rolling back" : "";
  return stateOf(row).label.toLowerCase();
}
