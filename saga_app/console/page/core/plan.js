// The saga as the page tells it: the steps in order, the lanes, the states. Words, shapes and colours come from here.

/** The four stations, from left to right. */
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

const LANES = new Map(STATIONS.flatMap((s, lane) => [[s.step, lane], ...(s.undo ? [[s.undo, lane]] : [])]));
const UNDOS = new Set(STATIONS.map((s) => s.undo).filter(Boolean));

export const laneOf = (step) => LANES.get(step) ?? 0;
export const isUndo = (step) => UNDOS.has(step);

/** Every state: its words, its icon and which of the four meanings it has (working, done, trouble, undone). */
export const STATES = {
  running: { label: "Running", icon: "running", meaning: "working" },
  completed: { label: "Completed", icon: "check", meaning: "done" },
  "rolling-back": { label: "Rolling back", icon: "back", meaning: "undone" },
  "rolled-back": { label: "Rolled back", icon: "back", meaning: "undone" },
  parked: { label: "Parked", icon: "pause", meaning: "trouble" },
  "rollback-incomplete": { label: "Rollback incomplete", icon: "warn", meaning: "trouble" },
};

const UNKNOWN = { label: "Unknown", icon: "warn", meaning: "trouble" };
export const stateOf = (row) => STATES[row.state] ?? { ...UNKNOWN, label: row.state };

export const hasEnded = (row) => ["completed", "rolled-back", "rollback-incomplete"].includes(row.state);
export const inMotion = (row) => row.state === "running" || row.state === "rolling-back";

/** What an operator can do about a saga: send a parked one to its step again, turn one round that goes forward. */
export const canRedrive = (row) => row.state === "parked";
export const canRollBack = (row) => row.state === "running" || row.state === "parked";
export const canBeginAgain = (row) => row.state === "rolled-back" || row.state === "rollback-incomplete";

/** Whether somebody ought to look at it. */
export const inTrouble = (row) =>
  row.state === "parked" || row.state === "rollback-incomplete" || (row.overdue && !hasEnded(row));

/** What a step found out, in a few words. */
export function finding(step, row) {
  if (step === "provision") return row.device_id ?? "";
  if (step === "authorize") return (row.authorizations ?? []).join(", ");
  if (step === "notify") return row.notified_at ? "mail sent" : "";
  return "";
}

/** The past tense of a step: what a timeline says when it is done. */
export const DONE_WORDS = {
  provision: "Device assigned",
  authorize: "Access granted",
  notify: "Mail sent",
  complete: "Noted as complete",
  retract: "Follow-up mail sent",
  revoke: "Access taken back",
  deprovision: "Device taken back",
};

/** What it says instead when there was nothing to undo. */
export const NOT_NEEDED = { retract: "No follow-up mail needed" };

export const ASK_WORDS = {
  provision: "New user: a device is asked for",
  authorize: "Access is asked for",
  notify: "The mail is asked for",
  complete: "The end is reported",
  retract: "A follow-up mail is asked for",
  revoke: "Taking the access back is asked for",
  deprovision: "Taking the device back is asked for",
};
