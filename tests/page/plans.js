// Plans and sagas for the tests, as the console's API returns them.

/** The time at which the sagas of the tests start. */
export const START = Date.parse("2026-11-27T12:00:00.000Z");

/**
 * A time, as ISO 8601.
 * @param {number} ms since START
 */
export const at = (ms) => new Date(START + ms).toISOString();

/**
 * @param {Partial<PlanStep> & Pick<PlanStep, "name" | "service">} fields
 * @returns {PlanStep}
 */
function step(fields) {
  const words = { requested: `${fields.name} was requested`, done: `${fields.name} was done`, compensated: null };
  const fact = { fact: null, fact_label: null, fact_shown_as: null };
  const label = fields.service[0].toUpperCase() + fields.service.slice(1);
  return { topic: fields.name, label, icon: "step", summary: "", words, compensation: null, ...fact, ...fields };
}

/**
 * @param {Partial<PlanCompensation> & Pick<PlanCompensation, "name" | "service" | "compensates">} fields
 * @returns {PlanCompensation}
 */
function compensation(fields) {
  const words = { requested: `${fields.name} was requested`, done: `${fields.name} was done`, not_needed: null };
  const label = fields.service[0].toUpperCase() + fields.service.slice(1);
  return { topic: fields.name, label, icon: "step", summary: "", words, ...fields };
}

/** Register a reader, print a card (without compensation), finish. @type {Plan} */
export const LIBRARY = {
  name: "library",
  services: ["desk", "printer"],
  steps: [
    step({
      name: "register",
      service: "desk",
      summary: "registers the reader",
      compensation: "unregister",
      fact: "reader_number",
      fact_label: "reader number",
      fact_shown_as: "text",
    }),
    step({ name: "print-card", service: "printer", summary: "prints the card" }),
    step({ name: "finish", service: "desk", summary: "records completion" }),
  ],
  compensations: [compensation({ name: "unregister", service: "desk", compensates: ["register"] })],
};

/** Eight steps, each but the last with a compensation; one compensation for two steps. @type {Plan} */
export const HIRING = {
  name: "hiring",
  services: ["office", "payroll", "access", "mailroom", "depot"],
  steps: [
    step({ name: "open", service: "office", compensation: "close", fact: "file", fact_shown_as: "text" }),
    step({ name: "contract", service: "payroll", compensation: "end-contract" }),
    step({
      name: "badge",
      service: "access",
      compensation: "revoke",
      fact: "doors",
      fact_label: "doors",
      fact_shown_as: "list",
    }),
    step({ name: "keys", service: "access", compensation: "revoke" }),
    step({ name: "desk", service: "depot", compensation: "clear-desk", fact: "desk", fact_shown_as: "text" }),
    step({ name: "laptop", service: "depot", compensation: "return-laptop", fact: "laptop", fact_shown_as: "text" }),
    step({
      name: "welcome",
      service: "mailroom",
      compensation: "retract",
      words: { requested: "Letter requested", done: "Letter sent", compensated: "Letter retracted" },
      fact: "sent_at",
      fact_label: "letter sent",
      fact_shown_as: "time",
    }),
    step({ name: "finish", service: "office" }),
  ],
  compensations: [
    compensation({ name: "close", service: "office", compensates: ["open"] }),
    compensation({ name: "end-contract", service: "payroll", compensates: ["contract"] }),
    compensation({ name: "revoke", service: "access", compensates: ["badge", "keys"] }),
    compensation({ name: "clear-desk", service: "depot", compensates: ["desk"] }),
    compensation({ name: "return-laptop", service: "depot", compensates: ["laptop"] }),
    compensation({
      name: "retract",
      service: "mailroom",
      compensates: ["welcome"],
      words: { requested: "Retraction requested", done: "Letter retracted", not_needed: "No retraction needed" },
    }),
  ],
};

/**
 * A visit that takes 100 ms of waiting and 400 ms of work, and ends at `endedAt` (ms since START).
 * @param {string} step
 * @param {number} endedAt
 * @param {Visit["outcome"]} [outcome]
 * @returns {Visit}
 */
export const visit = (step, endedAt, outcome = "done") => ({
  step,
  service: "any",
  attempts: 1,
  received_at: at(endedAt - 500),
  started_at: at(endedAt - 400),
  ended_at: at(endedAt),
  outcome,
  reason: outcome === "done" ? null : "because",
});

/**
 * A running saga that has just started.
 * @param {Partial<Saga>} [fields]
 */
export const saga = (fields = {}) =>
  /** @type {Saga} */ ({
    id: "ada",
    saga: "library",
    user: { name: "Ada Lovelace", email: "ada@example.com", department: "Sales" },
    state: "running",
    step: "register",
    attempt: 1,
    facts: {},
    started_at: at(0),
    updated_at: at(0),
    ended_at: null,
    duration: null,
    overdue: false,
    due_at: null,
    reason: null,
    why: "",
    overtook: null,
    trouble: null,
    history: [],
    ...fields,
  });
