// One event stream for all tabs of this browser: HTTP/1.1 allows six connections per server, and a stream occupies one.
//
// The tab that holds a Web Lock (the leader) reads the stream and broadcasts each event over a BroadcastChannel. When
// it closes or crashes, the browser gives the lock to another tab, which resumes after the last event that it received.
// Where Web Locks are not available (plain HTTP to another host), each visible tab has its own stream.

import { Stream } from "./event_stream.js";

/** The name of the channel and the lock. Its version keeps tabs apart that use different message formats. */
const NAME = "saga.stream.1";
/** How often a tab announces that it is open, and whether it wants the trace. */
const RENEW_MS = 5000;
/** A tab that is silent for so long has crashed. Browsers limit the timers of hidden tabs to one per minute. */
const EXPIRES_MS = 150_000;
/** A leader that is silent for so long is frozen: a visible tab steals the lock. */
const FROZEN_MS = 8000;

/**
 * Sent by the leader. "open": `fresh` if the stream did not resume after an earlier event. "event": `after` is the id
 * of the previous event, which lets a tab detect a missed one.
 * @typedef {{ type: "leading" }
 *   | { type: "open", trace: boolean, fresh: boolean }
 *   | { type: "down", nextTry: number }
 *   | { type: "event", kind: import("./event_stream.js").EventKind, data: string, id: string, after: string | null }
 * } LeaderMessage
 */

/**
 * Sent by the other tabs. "wish": the tab is open; `trace`: whether it wants `step` events. "bye": the tab closes.
 * @typedef {{ type: "wish", tab: string, trace: boolean }
 *   | { type: "retry" }
 *   | { type: "bye", tab: string }
 * } TabMessage
 */

/**
 * A function for each kind of event, and: `up`, the stream works; `down`, the connection is lost until `nextTry`;
 * `gap`, events may be missing.
 * @typedef {{
 *   saga(row: Saga): void,
 *   step(event: StepEvent): void,
 *   stats(stats: Stats): void,
 *   reset(): void,
 *   up(): void,
 *   down(nextTry: number): void,
 *   gap(): void,
 * }} Handlers
 */

export class SharedStream {
  /** @type {BroadcastChannel | undefined} */
  channel;
  /** Cancels the request for the lock. */
  lockRequest = /** @type {AbortController | null} */ (null);
  /** Releases the lock. */
  release = () => {};
  /** Resolves the promise of `join()`. */
  resolveJoin = () => {};

  /** @param {Handlers} on @param {boolean} trace */
  constructor(on, trace) {
    this.on = on;
    this.tab = crypto.getRandomValues(new Uint32Array(2)).join("-");
    /** Whether this tab wants `step` events. */
    this.trace = trace;
    this.streamHasTrace = false;
    /** The id of the last event that this tab received. */
    this.lastId = /** @type {string | null} */ (null);
    /** As the leader: the id of the last event broadcast. */
    this.lastSentId = /** @type {string | null} */ (null);
    /** As the leader: what each open tab wants, and when it last announced that. */
    this.wishes = /** @type {Map<string, { trace: boolean, at: number }>} */ (new Map());
    this.isLeading = false;
    this.isJoining = false;
    this.missesSteps = false;
    this.lastMessageAt = 0;
    this.isShared = Boolean(navigator.locks) && "BroadcastChannel" in globalThis;
    this.stream = new Stream({
      event: (kind, data, id) => this.#broadcastEvent(kind, data, id),
      open: () => this.#broadcast({ type: "open", trace: this.stream.trace, fresh: this.stream.isFresh }),
      down: (nextTry) => this.#broadcast({ type: "down", nextTry }),
    });
    this.#start();
    setInterval(() => this.#renew(), RENEW_MS);
    setInterval(() => this.#watch(), 1000);
    addEventListener("pagehide", () => this.#leave());
    addEventListener("pageshow", (event) => event.persisted && this.#restart());
    document.addEventListener("visibilitychange", () => this.isShared || this.#sleepOrWake());
  }

  /**
   * Resolves when the stream is open: a snapshot requested after that misses no event.
   * @param {boolean} trace
   * @returns {Promise<void>}
   */
  join(trace) {
    this.trace = trace;
    this.lastId = null;
    this.isJoining = true;
    this.missesSteps = false;
    return new Promise((resolve) => {
      this.resolveJoin = resolve;
      this.#renew();
    });
  }

  /** If an attempt to connect is scheduled, connect now. */
  retryNow() {
    if (this.isLeading) this.stream.retryNow();
    else this.#send({ type: "retry" });
  }

  #start() {
    this.lastMessageAt = Date.now();
    if (!this.isShared) {
      this.#lead();
      return;
    }
    this.channel = new BroadcastChannel(NAME);
    this.channel.onmessage = ({ data }) => this.#receive(data);
    this.#requestLock();
  }

  /** Wait for the lock; `steal` takes it from the tab that holds it. */
  async #requestLock({ steal = false } = {}) {
    this.lockRequest?.abort();
    const lockRequest = new AbortController();
    this.lockRequest = lockRequest;
    const options = steal ? { steal } : { signal: lockRequest.signal };
    const released = new Promise((resolve) => {
      this.release = () => resolve(undefined);
    });
    try {
      await navigator.locks.request(NAME, options, () => {
        this.#lead();
        return released;
      });
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "AbortError")) throw error;
      if (lockRequest !== this.lockRequest) return; // cancelled, or replaced by a later request of this tab
      this.#stopLeading();
      this.#requestLock();
    }
  }

  #lead() {
    this.isLeading = true;
    this.lastMessageAt = Date.now();
    this.lastSentId = this.lastId;
    this.wishes = new Map();
    // Until the other tabs have announced what they want, keep the trace if the stream had it.
    this.stream.open(this.trace || this.streamHasTrace, this.lastId);
    this.#broadcast({ type: "leading" });
  }

  #stopLeading() {
    this.isLeading = false;
    this.stream.close();
  }

  /** @param {import("./event_stream.js").EventKind} kind @param {string} data @param {string} id */
  #broadcastEvent(kind, data, id) {
    this.#broadcast({ type: "event", kind, data, id, after: this.lastSentId });
    this.lastSentId = id || this.lastSentId;
  }

  /**
   * Send a message to all tabs, including this one.
   * @param {LeaderMessage} message
   */
  #broadcast(message) {
    this.#send(message);
    this.#receive(message);
  }

  /**
   * Send a message to the other tabs.
   * @param {LeaderMessage | TabMessage} message
   */
  #send(message) {
    this.channel?.postMessage(message);
  }

  /** @param {LeaderMessage | TabMessage} message */
  #receive(message) {
    switch (message.type) {
      case "wish":
        if (this.isLeading) this.#grant(message);
        return;
      case "retry":
        if (this.isLeading) this.stream.retryNow();
        return;
      case "bye":
        this.wishes.delete(message.tab);
        return;
    }
    this.lastMessageAt = Date.now();
    if (message.type === "leading") this.#renew();
    if (message.type === "down") this.on.down(message.nextTry);
    if (message.type === "open") this.#opened(message);
    if (message.type === "event") this.#event(message);
  }

  /**
   * Record what a tab wants. The stream includes `step` events while at least one tab wants them.
   * @param {{ tab: string, trace: boolean }} wish
   */
  #grant({ tab, trace }) {
    const now = Date.now();
    this.wishes.set(tab, { trace, at: now });
    for (const [other, { at }] of this.wishes) if (now - at > EXPIRES_MS) this.wishes.delete(other);
    const isWanted = [...this.wishes.values()].some((wish) => wish.trace);
    if (isWanted !== this.stream.trace) this.stream.open(isWanted, this.stream.lastId);
    else if (this.stream.isOpen) this.#broadcast({ type: "open", trace: isWanted, fresh: false });
  }

  /** @param {{ trace: boolean, fresh: boolean }} message */
  #opened({ trace, fresh }) {
    this.streamHasTrace = trace;
    const isEnough = trace || !this.trace;
    const hasGap = fresh || this.missesSteps;
    this.missesSteps = !isEnough;
    if (!isEnough) return;
    if (this.isJoining) {
      this.isJoining = false;
      this.resolveJoin();
    } else if (hasGap) {
      this.on.gap();
    }
    this.on.up();
  }

  /** @param {Extract<LeaderMessage, { type: "event" }>} message */
  #event({ kind, data, id, after }) {
    if (this.isJoining) return;
    if (isBefore(this.lastId, after)) return this.on.gap();
    if (id && !isBefore(id, this.lastId)) this.lastId = id;
    if (kind !== "step" || this.trace) this.on[kind](JSON.parse(data || "{}"));
    this.on.up();
  }

  #renew() {
    /** @type {Extract<TabMessage, { type: "wish" }>} */
    const wish = { type: "wish", tab: this.tab, trace: this.trace };
    if (this.isLeading) this.#grant(wish);
    else this.#send(wish);
  }

  #watch() {
    if (this.isLeading || document.hidden || Date.now() - this.lastMessageAt < FROZEN_MS) return;
    this.lastMessageAt = Date.now();
    this.#requestLock({ steal: true });
  }

  #sleepOrWake() {
    if (document.hidden) this.stream.close();
    else this.stream.open(this.trace, this.lastId);
  }

  #leave() {
    this.#send({ type: "bye", tab: this.tab });
    this.lockRequest?.abort();
    this.lockRequest = null;
    this.#stopLeading();
    this.release();
    this.channel?.close();
  }

  /** Start over after the browser has restored the page from the back/forward cache. */
  #restart() {
    this.#start();
    this.on.gap();
  }
}

/**
 * Whether event `id` is older than `other`. Ids are "epoch-number"; false if the epochs differ or one is null.
 * @param {string | null} id
 * @param {string | null} other
 */
function isBefore(id, other) {
  const [a, b] = [id, other].map((each) => each?.match(/^(.*)-(\d+)$/));
  return Boolean(a && b && a[1] === b[1] && Number(a[2]) < Number(b[2]));
}
