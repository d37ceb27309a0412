// Keeps the store in sync with the server: joins the event stream, loads a snapshot, then applies the buffered events.

import { api } from "../core/api.js";
import * as state from "../core/store.js";
import { store } from "../core/store.js";
import { SharedStream } from "./shared_stream.js";

const ARRIVALS = 60;
const UNDER_WAY = 500;
const RELOAD_MS = 2000;

/**
 * Changes to apply after the snapshot that is being loaded; null while none is being loaded.
 * @type {(() => void)[] | null}
 */
let buffer = [];

/**
 * Apply events at once, or buffer them while a snapshot is being loaded.
 * @template Payload
 * @param {(payload: Payload) => void} change
 * @returns {(payload: Payload) => void}
 */
const afterSnapshot = (change) => (payload) => {
  if (buffer) buffer.push(() => change(payload));
  else change(payload);
};

const stream = new SharedStream(
  {
    saga: afterSnapshot(state.ended),
    step: afterSnapshot(state.stepped),
    stats: state.setStats,
    reset: () => void load(),
    gap: () => void load(),
    up: () => {
      if (!buffer && store.connection.state !== "live") setLive();
    },
    down: (nextTry) => {
      setLost(nextTry);
      // The event stream does not report a 401 or 403. This request does, which opens the sign-in dialog.
      api.sagas({ limit: 1 }).catch(() => {});
    },
  },
  store.trace,
);

let lastLoad = 0;
let reloadTimer = 0;

/** Load a snapshot and follow the stream. A failed load is repeated until it succeeds. */
export async function load() {
  lastLoad += 1;
  const thisLoad = lastLoad;
  clearTimeout(reloadTimer);
  /** @type {(() => void)[]} */
  const changes = [];
  buffer = changes;
  try {
    await stream.join(store.trace);
    if (thisLoad !== lastLoad) return;
    const [ended, underWay] = await snapshot();
    if (thisLoad !== lastLoad) return;
    state.loaded(ended, underWay);
    buffer = null;
    for (const change of changes) change();
    setLive();
  } catch {
    if (thisLoad !== lastLoad) return;
    setLost(Date.now() + RELOAD_MS);
    reloadTimer = setTimeout(load, RELOAD_MS);
  }
}

/** Connect now instead of at the next attempt. */
export function retryNow() {
  stream.retryNow();
  if (buffer) load();
}

async function snapshot() {
  const [ended, underWay] = await Promise.all([
    api.sagas({ sort: "-ended_at", limit: ARRIVALS }),
    store.trace ? api.sagas({ state: "running,rolling-back", sort: "started_at", limit: UNDER_WAY }) : null,
  ]);
  return [ended.items, underWay?.items ?? []];
}

function setLive() {
  state.setConnection({ state: "live", since: Date.now() });
}

/** @param {number} nextTry */
function setLost(nextTry) {
  const since = store.connection.state === "lost" ? store.connection.since : Date.now();
  state.setConnection({ state: "lost", since, nextTry });
}
