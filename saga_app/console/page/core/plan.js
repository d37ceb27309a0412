// The plan of the saga (steps, lanes, words) and its states (words, icons, colours). No DOM access and no requests.

import { sentence } from "./format.js";

/**
 * The plan in use.
 * @type {Plan}
 */
export let plan = { name: "", services: [], steps: [], compensations: [] };

/** @type {Map<string, PlanStep | PlanCompensation>} */
let byName = new Map();
/** @type {Map<string, number>} */
let lanes = new Map();
/** @type {Set<string>} */
let compensations = new Set();

/**
 * Use this plan. Call it before modules are imported that read the plan when they are evaluated.
 * @param {Plan} next as returned by `GET /api/plan`
 */
export function usePlan(next) {
  plan = next;
  byName = new Map([...next.compensations, ...next.steps].map((step) => [step.name, step]));
  compensations = new Set(next.compensations.map(({ name }) => name));
  lanes = new Map(next.steps.map(({ name }, lane) => [name, lane]));
  for (const [lane, { compensation }] of next.steps.entries()) if (compensation) lanes.set(compensation, lane);
}

/**
 * Whether a step or compensation is in the plan. Sagas that started under another plan can have others.
 * @param {string} step
 */
export const isKnown = (step) => byName.has(step);

/** @param {string} step */
export const isCompensation = (step) => compensations.has(step);

/**
 * The lane of a step, from 0 on the left; a compensation is in the lane of the last step that it compensates.
 * 0 for a step that is not in the plan.
 * @param {string} step
 */
export const laneOf = (step) => lanes.get(step) ?? 0;

/** The lane of the step that ends the saga. */
export const lastLane = () => Math.max(0, plan.steps.length - 1);

/**
 * The name of a step as a title: "Verify identity"
 * @param {string} step
 */
export const stepTitle = (step) => sentence(step.replaceAll("-", " "));

/**
 * The name of a service as written in sentences: "Notifier"
 * @param {string} service
 */
export const serviceLabel = (service) =>
  [...plan.steps, ...plan.compensations].find((step) => step.service === service)?.label ??
  sentence(service.replaceAll("-", " "));

/**
 * What a service does: "assigns a device, records completion"
 * @param {string} service
 */
export const serviceSummary = (service) =>
  plan.steps
    .filter((step) => step.service === service)
    .map(({ summary }) => summary)
    .filter(Boolean)
    .join(", ");

/**
 * Timeline text of a requested step or compensation.
 * @param {string} step
 */
export const requestedWords = (step) => byName.get(step)?.words.requested ?? `${stepTitle(step)} requested`;

/**
 * Timeline text of a finished step or compensation.
 * @param {string} step
 * @param {boolean} isNeeded false for a compensation that had nothing to compensate
 */
export function doneWords(step, isNeeded = true) {
  const words = byName.get(step)?.words;
  const notNeeded = words && "not_needed" in words ? words.not_needed : null;
  return (isNeeded ? null : notNeeded) ?? words?.done ?? `${stepTitle(step)} done`;
}

/**
 * How each state is shown.
 * @type {Record<string, StateLook>}
 */
export const STATES = {
  running: { label: "Running", icon: "running", meaning: "working" },
  completed: { label: "Completed", icon: "check", meaning: "done" },
  "rolling-back": { label: "Rolling back", icon: "back", meaning: "undone" },
  "rolled-back": { label: "Rolled back", icon: "back", meaning: "undone" },
  parked: { label: "Parked", icon: "pause", meaning: "trouble" },
  "rollback-incomplete": { label: "Rollback incomplete", icon: "warn", meaning: "trouble" },
};

/** @param {Saga} row @returns {StateLook} */
export const stateOf = (row) => STATES[row.state] ?? { label: row.state, icon: "warn", meaning: "trouble" };

/** @param {Saga} row */
export const hasEnded = (row) => ["completed", "rolled-back", "rollback-incomplete"].includes(row.state);
/** @param {Saga} row */
export const inMotion = (row) => row.state === "running" || row.state === "rolling-back";

/**
 * Whether the current step is a compensation.
 * @param {Saga} row
 */
export const isCompensating = (row) => isCompensation(row.step) || (row.state === "rolling-back" && !isKnown(row.step));

// The operations that an operator can apply to a saga in its current state.
/** @param {Saga} row */
export const canRedrive = (row) => row.state === "parked";
/** @param {Saga} row */
export const canRollBack = (row) => row.state === "running" || row.state === "parked";
/** @param {Saga} row */
export const canBeginAgain = (row) => row.state === "rolled-back" || row.state === "rollback-incomplete";

/**
 * Whether the saga needs attention.
 * @param {Saga} row
 */
export const inTrouble = (row) =>
  row.state === "parked" || row.state === "rollback-incomplete" || (row.overdue && !hasEnded(row));
