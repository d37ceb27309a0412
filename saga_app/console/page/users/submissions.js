// Requests for new users. When the answer to one is lost, nobody can tell whether the users were accepted: the same
// request is then sent again with the same Idempotency-Key until it is known, also after the page was reloaded.

import { api, Problem } from "../core/api.js";
import { store, subscribe } from "../core/store.js";

const STORED = "saga.submissions";
/** A larger body is not kept for the time after a reload. Characters. */
const STORED_LENGTH = 100_000;
/** An answer that takes longer is called late; another press does not count as another user then. Milliseconds. */
const LATE_MS = 3000;
const BACKOFF_S = [1, 2, 4, 8, 15];
/** Answers that say nothing about an earlier attempt: the request was not examined. */
const isUnexamined = ({ status }) => status >= 500 || [401, 403, 407, 429].includes(status);

const RELOADED = { title: "The page was reloaded", detail: "It was reloaded before the answer came." };

/** Those that are not answered yet, the oldest first. */
const open = new Set();
let show = () => {};

class Submission {
  /** `intent`: what was pressed; `who`: the users in words; `done`: `accepted(answer)` and `refused(problem)`. */
  constructor({ intent, who, body, type, key }, done) {
    Object.assign(this, { intent, who, body, type, key, done });
    this.isLate = false;
    this.problem = null;
    this.attempts = 0;
  }

  /** Whether users may have been accepted without an answer. */
  get isUnknown() {
    return this.problem !== null;
  }

  async send() {
    clearTimeout(this.timer);
    this.isSending = true;
    this.attempts += 1;
    const late = setTimeout(() => this.#change({ isLate: true }), LATE_MS);
    try {
      this.#end("accepted", await api.onboard(this));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.isUnknown || (this.isUnknown && isUnexamined(problem))) this.#wait(problem);
      else this.#end("refused", problem);
    } finally {
      clearTimeout(late);
      this.isSending = false;
    }
  }

  /** At once, unless an attempt is under way, or the body was lost when the page was reloaded. */
  retryNow() {
    if (this.body !== null && !this.isSending) this.send();
  }

  /** Forget it: whether the users were accepted stays unknown. */
  drop() {
    clearTimeout(this.timer);
    open.delete(this);
    this.#change({});
  }

  #wait(problem) {
    if (!open.has(this)) return;
    const wait = BACKOFF_S[Math.min(this.attempts - 1, BACKOFF_S.length - 1)] * (0.8 + 0.4 * Math.random());
    this.timer = setTimeout(() => this.send(), wait * 1000);
    this.#change({ problem, isLate: false });
  }

  #end(how, outcome) {
    if (!open.delete(this)) return;
    this.#change({ isLate: false });
    this.done[how](outcome);
  }

  #change(change) {
    Object.assign(this, change);
    keep();
    show([...open].filter((each) => each.isUnknown || each.isLate));
  }
}

/**
 * Send `request()`: {who, body, type}. While an earlier request of the same `intent` is without an answer, that one is
 * sent again instead.
 */
export function submit(intent, request, done) {
  const earlier = [...open].find((each) => each.intent === intent && (each.isUnknown || each.isLate));
  const submission = earlier ?? new Submission({ ...request(), intent, key: randomKey() }, done);
  submission.body ??= request().body;
  open.add(submission);
  keep();
  submission.retryNow();
}

/** Start: `display(list)` shows those that are late or unknown; `done(who)` handles the answers to those of before a reload. */
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

/** For this tab: after a reload they are sent again with the same key, a file when it is chosen again. */
function keep() {
  const fields = [...open].map(({ intent, who, body, type, key }) => {
    const isShort = typeof body === "string" && body.length <= STORED_LENGTH;
    return { intent, who, body: isShort ? body : null, type, key };
  });
  if (fields.length) sessionStorage.setItem(STORED, JSON.stringify(fields));
  else sessionStorage.removeItem(STORED);
}

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(STORED)) ?? [];
  } catch {
    return [];
  }
}

function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
