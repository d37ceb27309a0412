// The server-sent events: opened, watched, and opened again when they break, from the last event that came.

/** Seconds between tries: doubled up to the last, with some jitter. The page is for one person; quick is kind. */
const BACKOFF_S = [0.5, 1, 2, 4, 5];
/** `stats` come every second: after this silence the connection is dead, whatever the browser thinks. Milliseconds. */
const SILENCE_MS = 6000;
const KINDS = ["saga", "step", "stats", "reset"];

export class Stream {
  /** `on` has `open()`, `event(kind, data, id)` with the data as text, and `down(nextTry)`. */
  constructor(on) {
    this.on = on;
    this.source = null;
    this.lastId = null;
    this.trace = true;
    this.tries = 0;
    this.heardAt = 0;
    setInterval(() => this.#watch(), 1000);
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.retryNow());
  }

  /** Begin after this event; without one, with whatever comes next. */
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

  /** Do not wait for the next try, if one is being waited for. */
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
    this.heardAt = Date.now();
    source.onopen = () => this.source === source && this.#opened();
    source.onerror = () => this.source === source && this.#broken();
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => this.source === source && this.#event(kind, event));
    }
  }

  #opened() {
    this.isOpen = true;
    this.tries = 0;
    this.heardAt = Date.now();
    this.on.open();
  }

  #event(kind, { data, lastEventId }) {
    if (lastEventId) this.lastId = lastEventId;
    this.heardAt = Date.now();
    this.on.event(kind, data, lastEventId);
  }

  #broken() {
    this.close();
    const wait = BACKOFF_S[Math.min(this.tries, BACKOFF_S.length - 1)] * (0.8 + 0.4 * Math.random()) * 1000;
    this.tries += 1;
    this.timer = setTimeout(() => this.#connect(), wait);
    this.on.down(Date.now() + wait);
  }

  #watch() {
    if (this.source && Date.now() - this.heardAt > SILENCE_MS) this.#broken();
  }
}
