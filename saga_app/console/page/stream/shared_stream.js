// One event stream for all tabs of this browser: HTTP/1.1 allows six connections to a server, and each stream holds one.
//
// The tab that holds a Web Lock (the leader) reads the stream and passes each event on over a BroadcastChannel. When it
// closes or crashes, the browser gives the lock to another tab, which resumes after the last event that it has seen.
// Where locks are missing (plain HTTP to another host), each visible tab has a stream of its own, and a hidden one none.

import { Stream } from "./event_stream.js";

/** With the version of the messages, so that tabs of before and after an update do not mix. */
const NAME = "saga.stream.1";
/** How often a tab repeats that it is open, and whether it wants the trace. Milliseconds. */
const RENEW_MS = 5000;
/** A tab that has not repeated it for so long has crashed. Browsers slow the timers of hidden tabs to one a minute. */
const EXPIRES_MS = 150_000;
/** A leader that passes nothing on for so long is frozen: a visible tab takes the lock from it. Milliseconds. */
const FROZEN_MS = 8000;
const FROM_LEADER = new Set(["leading", "open", "event", "down"]);

export class SharedStream {
  /** `on`: a function for each kind of event; `up()`; `down(nextTry)`; and `gap()`, when events may be missing. */
  constructor(on, trace) {
    this.on = on;
    this.tab = crypto.getRandomValues(new Uint32Array(2)).join("-");
    this.trace = trace;
    this.streamHasTrace = false;
    this.lastId = null;
    this.isJoining = false;
    this.missesSteps = false;
    this.isShared = Boolean(navigator.locks) && "BroadcastChannel" in globalThis;
    this.stream = new Stream({
      event: (kind, data, id) => this.#pass(kind, data, id),
      open: () => this.#tell({ type: "open", trace: this.stream.trace, fresh: this.stream.isFresh }),
      down: (nextTry) => this.#tell({ type: "down", nextTry }),
    });
    this.#start();
    setInterval(() => this.#renew(), RENEW_MS);
    setInterval(() => this.#watch(), 1000);
    addEventListener("pagehide", () => this.#leave());
    addEventListener("pageshow", (event) => event.persisted && this.#restart());
    document.addEventListener("visibilitychange", () => this.isShared || this.#sleepOrWake());
  }

  /** Resolves when the stream is open: a snapshot that is requested from then on misses no event. */
  join(trace) {
    this.trace = trace;
    this.lastId = null;
    this.isJoining = true;
    this.missesSteps = false;
    return new Promise((resolve) => {
      this.joined = resolve;
      this.#renew();
    });
  }

  /** Do not wait for the next attempt to connect. */
  retryNow() {
    if (this.isLeading) this.stream.retryNow();
    else this.channel?.postMessage({ type: "retry" });
  }

  #start() {
    this.heardAt = Date.now();
    if (!this.isShared) return this.#lead();
    this.channel = new BroadcastChannel(NAME);
    this.channel.onmessage = ({ data }) => this.#receive(data);
    return this.#queue();
  }

  /** Wait for the lock; `steal` takes it from the tab that holds it. */
  async #queue({ steal = false } = {}) {
    this.queued?.abort();
    const queued = (this.queued = new AbortController());
    const options = steal ? { steal } : { signal: queued.signal };
    const held = new Promise((release) => (this.release = release));
    try {
      await navigator.locks.request(NAME, options, () => this.#lead() ?? held);
    } catch (error) {
      if (error.name !== "AbortError") throw error;
      if (queued !== this.queued) return; // this tab waits no longer, or has taken the lock itself
      this.#stopLeading();
      this.#queue();
    }
  }

  #lead() {
    this.isLeading = true;
    this.heardAt = Date.now();
    this.passed = this.lastId;
    this.wishes = new Map();
    // Until the other tabs have repeated what they want, they want what they had.
    this.stream.open(this.trace || this.streamHasTrace, this.lastId);
    this.#tell({ type: "leading" });
  }

  #stopLeading() {
    this.isLeading = false;
    this.stream.close();
  }

  /** From the server to all tabs; `after` is the event before, by which a tab sees that it has missed one. */
  #pass(kind, data, id) {
    this.#tell({ type: "event", kind, data, id, after: this.passed });
    this.passed = id || this.passed;
  }

  /** To all tabs, this one among them. */
  #tell(message) {
    this.channel?.postMessage(message);
    this.#receive(message);
  }

  #receive(message) {
    const { type } = message;
    if (FROM_LEADER.has(type)) this.heardAt = Date.now();
    if (type === "wish" && this.isLeading) this.#grant(message);
    if (type === "retry" && this.isLeading) this.stream.retryNow();
    if (type === "bye") this.wishes?.delete(message.tab);
    if (type === "leading") this.#renew();
    if (type === "down") this.on.down(message.nextTry);
    if (type === "open") this.#opened(message);
    if (type === "event") this.#event(message);
  }

  /** The stream has the trace as long as one tab wants it. */
  #grant({ tab, trace }) {
    const now = Date.now();
    this.wishes.set(tab, { trace, at: now });
    for (const [other, { at }] of this.wishes) if (now - at > EXPIRES_MS) this.wishes.delete(other);
    const wanted = [...this.wishes.values()].some((wish) => wish.trace);
    if (wanted !== this.stream.trace) return this.stream.open(wanted, this.stream.lastId);
    if (this.stream.isOpen) this.#tell({ type: "open", trace: wanted, fresh: false });
    return undefined;
  }

  /** `fresh`: it begins now, and not after the last event. */
  #opened({ trace, fresh }) {
    this.streamHasTrace = trace;
    const isEnough = trace || !this.trace;
    const missed = fresh || this.missesSteps;
    this.missesSteps = !isEnough;
    if (!isEnough) return;
    if (this.isJoining) {
      this.isJoining = false;
      this.joined();
    } else if (missed) {
      this.on.gap();
    }
    this.on.up();
  }

  #event({ kind, data, id, after }) {
    if (this.isJoining) return;
    if (isBefore(this.lastId, after)) return void this.on.gap();
    if (id && !isBefore(id, this.lastId)) this.lastId = id;
    if (kind !== "step" || this.trace) this.on[kind](JSON.parse(data || "{}"));
    this.on.up();
  }

  #renew() {
    const wish = { type: "wish", tab: this.tab, trace: this.trace };
    if (this.isLeading) this.#grant(wish);
    else this.channel?.postMessage(wish);
  }

  #watch() {
    if (this.isLeading || document.hidden || Date.now() - this.heardAt < FROZEN_MS) return;
    this.heardAt = Date.now();
    this.#queue({ steal: true });
  }

  #sleepOrWake() {
    if (document.hidden) this.stream.close();
    else this.stream.open(this.trace, this.lastId);
  }

  #leave() {
    this.channel?.postMessage({ type: "bye", tab: this.tab });
    this.queued?.abort();
    this.queued = null;
    this.#stopLeading();
    this.release?.();
    this.channel?.close();
  }

  /** The browser shows the page again as it was left. */
  #restart() {
    this.#start();
    this.on.gap();
  }
}

/** Whether one event id, "epoch-number", is older than another; ids of two epochs, or none, cannot be compared. */
function isBefore(id, other) {
  const [a, b] = [id, other].map((each) => each?.match(/^(.*)-(\d+)$/));
  return Boolean(a && b) && a[1] === b[1] && Number(a[2]) < Number(b[2]);
}
