// The connection to the server-sent events: reconnects after an error or a silence, and resumes after the last event.

/** Delays between attempts to connect, with jitter. They are short because the server has few clients. Seconds. */
const BACKOFF_S = [0.5, 1, 2, 4, 5];
/** `stats` events arrive every second. After this silence the connection is considered dead. */
const SILENCE_MS = 6000;
const KINDS = /** @type {const} */ (["saga", "step", "stats", "reset"]);

/**
 * The type of an event of the stream.
 * @typedef {(typeof KINDS)[number]} EventKind
 */

/**
 * `open`: the stream is open. `event`: an event arrived, with its JSON text. `down`: the connection is lost, and the
 * next attempt is at `nextTry` (ms since 1970).
 * @typedef {{
 *   open(): void,
 *   event(kind: EventKind, data: string, id: string): void,
 *   down(nextTry: number): void,
 * }} Callbacks
 */

export class Stream {
  /** @param {Callbacks} on */
  constructor(on) {
    this.on = on;
    this.source = /** @type {EventSource | null} */ (null);
    /** The id of the last event. */
    this.lastId = /** @type {string | null} */ (null);
    /** Whether the stream includes `step` events. */
    this.trace = true;
    this.isOpen = false;
    /** Whether the stream began with the next event, instead of resuming after an earlier one. */
    this.isFresh = true;
    this.attempts = 0;
    /** The timer of the next attempt to connect. */
    this.timer = 0;
    this.lastEventAt = 0;
    setInterval(() => this.#watch(), 1000);
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.retryNow());
  }

  /**
   * Connect.
   * @param {boolean} trace whether to include `step` events
   * @param {string | null} lastId resume after this event; null starts with the next event
   */
  open(trace, lastId) {
    this.trace = trace;
    this.lastId = lastId;
    this.#connect();
  }

  close() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.isOpen = false;
    this.source?.close();
    this.source = null;
  }

  /** If an attempt to connect is scheduled, connect now. */
  retryNow() {
    if (this.timer) this.#connect();
  }

  #connect() {
    this.close();
    const query = new URLSearchParams({ trace: this.trace ? "on" : "off" });
    if (this.lastId) query.set("last_event_id", this.lastId);
    this.isFresh = !this.lastId;
    const source = new EventSource(`/api/stream?${query}`);
    this.source = source;
    this.lastEventAt = Date.now();
    source.onopen = () => this.source === source && this.#opened();
    source.onerror = () => this.source === source && this.#broken();
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => this.source === source && this.#event(kind, event));
    }
  }

  #opened() {
    this.isOpen = true;
    this.attempts = 0;
    this.lastEventAt = Date.now();
    this.on.open();
  }

  /** @param {EventKind} kind @param {MessageEvent<string>} event */
  #event(kind, { data, lastEventId }) {
    if (lastEventId) this.lastId = lastEventId;
    this.lastEventAt = Date.now();
    this.on.event(kind, data, lastEventId);
  }

  #broken() {
    this.close();
    const wait = BACKOFF_S[Math.min(this.attempts, BACKOFF_S.length - 1)] * (0.8 + 0.4 * Math.random()) * 1000;
    this.attempts += 1;
    this.timer = setTimeout(() => this.#connect(), wait);
    this.on.down(Date.now() + wait);
  }

  #watch() {
    if (this.source && Date.now() - this.lastEventAt > SILENCE_MS) this.#broken();
  }
}
