// Requests for new users. If the response to one is lost, it is unknown whether the users were accepted. The request is
// then repeated with the same Idempotency-Key until a response arrives, also after the page was reloaded.

import { api, Problem } from "../core/api.js";
import { store, subscribe } from "../core/store.js";

/** @typedef {Omit<NewUsersRequest, "key"> & { who: string }} UsersRequest `who`: the users in words */
/** @typedef {UsersRequest & { intent: string, key: string }} SubmissionFields `intent`: the button, form or file */
/** @typedef {Partial<Accepted & AcceptedList>} Onboarded `id` after one user, `accepted` after a list */
/** @typedef {{ accepted: (body: Onboarded) => void, refused: (problem: Problem) => void }} Outcomes */

const STORED = "saga.submissions";
/** Longer bodies (in characters) are not kept for a retry after a reload. */
const STORED_LENGTH = 100_000;
/** A response is late after this time; pressing the button again then repeats the request instead of adding a user. */
const LATE_MS = 3000;
const BACKOFF_S = [1, 2, 4, 8, 15];
/** Whether the server did not examine the request: earlier attempts stay unknown. @param {Problem} problem */
const isUnexamined = ({ status }) => status >= 500 || [401, 403, 407, 429].includes(status);

const RELOADED = { title: "The page was reloaded", detail: "It was reloaded before a response arrived." };

/** Requests without a response, oldest first. @type {Set<Submission>} */
const open = new Set();
/** @type {(submissions: Submission[]) => void} */
let show = () => {};

export class Submission {
  isLate = false;
  isSending = false;
  /** The last failed attempt, if its outcome is unknown. @type {Problem | null} */
  problem = null;
  attempts = 0;
  /** @type {number | undefined} */
  timer;

  /** @param {SubmissionFields} fields @param {Outcomes} done */
  constructor({ intent, who, body, type, key }, done) {
    this.intent = intent;
    this.who = who;
    this.body = body;
    this.type = type;
    this.key = key;
    this.done = done;
  }

  /** Whether the users may have been accepted although no response arrived. */
  get isUnknown() {
    return this.problem !== null;
  }

  async send() {
    clearTimeout(this.timer);
    this.isSending = true;
    this.attempts += 1;
    const late = setTimeout(() => this.#change({ isLate: true }), LATE_MS);
    try {
      const body = await api.onboard(this);
      this.#end(() => this.done.accepted(body));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.isUnknown || (this.isUnknown && isUnexamined(problem))) this.#wait(problem);
      else this.#end(() => this.done.refused(problem));
    } finally {
      clearTimeout(late);
      this.isSending = false;
    }
  }

  /** Send now, unless an attempt is in progress or the body was lost in a reload. */
  retryNow() {
    if (this.body !== null && !this.isSending) this.send();
  }

  /** Stop retrying: it stays unknown whether the users were accepted. */
  drop() {
    clearTimeout(this.timer);
    open.delete(this);
    this.#change({});
  }

  /** @param {Problem} problem */
  #wait(problem) {
    if (!open.has(this)) return;
    const wait = BACKOFF_S[Math.min(this.attempts - 1, BACKOFF_S.length - 1)] * (0.8 + 0.4 * Math.random());
    this.timer = setTimeout(() => this.send(), wait * 1000);
    this.#change({ problem, isLate: false });
  }

  /** @param {() => void} report */
  #end(report) {
    if (!open.delete(this)) return;
    this.#change({ isLate: false });
    report();
  }

  /** @param {{ problem?: Problem, isLate?: boolean }} change */
  #change(change) {
    Object.assign(this, change);
    keep();
    show([...open].filter((each) => each.isUnknown || each.isLate));
  }
}

/**
 * Send `request()`. If an earlier request of the same `intent` is late or unknown, repeat that one instead.
 * @param {string} intent @param {() => UsersRequest} request @param {Outcomes} done
 */
export function submit(intent, request, done) {
  const earlier = [...open].find((each) => each.intent === intent && (each.isUnknown || each.isLate));
  const submission = earlier ?? new Submission({ ...request(), intent, key: randomKey() }, done);
  submission.body ??= request().body;
  open.add(submission);
  keep();
  submission.retryNow();
}

/**
 * Start, and resume the requests from before a reload. `display(list)` shows the late and unknown ones.
 * @param {(submissions: Submission[]) => void} display @param {(who: string) => Outcomes} done for resumed requests
 */
export function submissions(display, done) {
  show = display;
  for (const kept of stored()) {
    const submission = new Submission(kept, done(kept.who));
    submission.problem = new Problem(0, RELOADED, true);
    open.add(submission);
    submission.retryNow();
  }
  display([...open]);
  let wasLive = true;
  subscribe((changed) => {
    if (!changed.has("connection")) return;
    const isLive = store.connection.state === "live";
    if (isLive && !wasLive) for (const each of open) if (each.isUnknown) each.retryNow();
    wasLive = isLive;
  });
}

/** Store the open requests for this tab. A long body or a file is left out: the person has to choose the file again. */
function keep() {
  const fields = [...open].map(({ intent, who, body, type, key }) => {
    const isShort = typeof body === "string" && body.length <= STORED_LENGTH;
    return { intent, who, body: isShort ? body : null, type, key };
  });
  if (fields.length) sessionStorage.setItem(STORED, JSON.stringify(fields));
  else sessionStorage.removeItem(STORED);
}

/** @returns {SubmissionFields[]} */
function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(STORED) ?? "[]");
  } catch {
    return [];
  }
}

function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
