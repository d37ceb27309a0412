// The saga as shown on the page: its steps in order, the lanes, and the words, icons and colours of its states.

/**
 * The four stations, from left to right.
 * @type {Station[]}
 */
export const STATIONS = [
  {
    step: "provision",
    undo: "deprovision",
    service: "provisioner",
    label: "Provisioner",
    does: "assigns a device",
    icon: "device",
  },
  { step: "authorize", undo: "revoke", service: "authorizer", label: "Authorizer", does: "grants access", icon: "key" },
  { step: "notify", undo: "retract", service: "notifier", label: "Notifier", does: "sends the mail", icon: "mail" },
  { step: "complete", undo: null, service: "provisioner", label: "Provisioner", does: "ends it", icon: "flag" },
];

/** @type {Map<string, number>} */
const LANES = new Map();
for (const [lane, { step, undo }] of STATIONS.entries()) {
  LANES.set(step, lane);
  if (undo) LANES.set(undo, lane);
}
const UNDOS = new Set(STATIONS.flatMap(({ undo }) => undo ?? []));

/** @param {string} step a step or its compensation */
export const laneOf = (step) => LANES.get(step) ?? 0;
/** @param {string} step */
export const isUndo = (step) => UNDOS.has(step);

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

/**
 * The result of a step, in a few words.
 * @param {string} step
 * @param {Saga} row
 */
export function finding(step, row) {
  if (step === "provision") return row.device_id ?? "";
  if (step === "authorize") return (row.authorizations ?? []).join(", ");
  if (step === "notify") return row.notified_at ? "mail sent" : "";
  return "";
}

/**
 * Timeline text of a finished step or compensation.
 * @type {Record<string, string>}
 */
export const DONE_WORDS = {
  provision: "Device assigned",
  authorize: "Access granted",
  notify: "Mail sent",
  complete: "Noted as complete",
  retract: "Follow-up mail sent",
  revoke: "Access taken back",
  deprovision: "Device taken back",
};

/**
 * Timeline text of a compensation that had nothing to undo.
 * @type {Record<string, string>}
 */
export const NOT_NEEDED = { retract: "No follow-up mail needed" };

/**
 * Timeline text of a requested step or compensation.
 * @type {Record<string, string>}
 */
export const ASK_WORDS = {
  provision: "New user: a device is asked for",
  authorize: "Access is asked for",
  notify: "The mail is asked for",
  complete: "The end is reported",
  retract: "A follow-up mail is asked for",
  revoke: "Taking the access back is asked for",
  deprovision: "Taking the device back is asked for",
};
