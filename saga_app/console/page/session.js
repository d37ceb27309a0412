// Keeping the store in step with the server: load what is there, then follow what happens from exactly that point.

import { api } from "./api.js";
import * as state from "./store.js";
import { store } from "./store.js";
import { Stream } from "./stream.js";

const ARRIVALS = 60;
const UNDER_WAY = 500;
const RELOAD_MS = 2000;

const stream = new Stream({
  saga: state.ended,
  step: state.stepped,
  stats: state.setStats,
  reset: () => load(),
  up: () => store.connection.state !== "live" && state.setConnection({ state: "live", since: Date.now() }),
  down: lost,
});

let loading = 0;

/** Load afresh and follow. A failed load is tried again until it works. */
export async function load() {
  const turn = ++loading;
  stream.close();
  try {
    const [ended, underWay] = await snapshot();
    if (turn !== loading) return;
    state.loaded(ended.items, underWay);
    stream.open(store.trace, ended.cursor_event);
  } catch (problem) {
    if (turn !== loading) return;
    lost(Date.now() + RELOAD_MS);
    reload = setTimeout(load, RELOAD_MS);
  }
}

let reload = 0;

export function retryNow() {
  clearTimeout(reload);
  if (stream.lastId && !stream.source) stream.retryNow();
  else load();
}

/** The endings first: their `cursor_event` is the older one, so nothing can fall between it and the stream. */
async function snapshot() {
  const ended = await api.sagas({ sort: "-ended_at", limit: ARRIVALS });
  if (!store.trace) return [ended, []];
  const underWay = await api.sagas({ state: "running,rolling-back", sort: "started_at", limit: UNDER_WAY });
  return [ended, underWay.items];
}

function lost(nextTry) {
  const since = store.connection.state === "lost" ? store.connection.since : Date.now();
  state.setConnection({ state: "lost", since, nextTry });
}
