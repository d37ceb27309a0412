// Keeping the store in step with the server: follow what happens, load what is there, and then apply what came meanwhile.

import { api } from "../core/api.js";
import * as state from "../core/store.js";
import { store } from "../core/store.js";
import { SharedStream } from "./shared_stream.js";

const ARRIVALS = 60;
const UNDER_WAY = 500;
const RELOAD_MS = 2000;

/** Events that came while a snapshot was loaded, to be applied after it; null when none is being loaded. */
let held = [];
const apply = (change) => (event) => (held ? held.push(() => change(event)) : change(event));

const on = {
  saga: apply(state.ended),
  step: apply(state.stepped),
  stats: state.setStats,
  reset: () => load(),
  gap: () => load(),
  up: () => !held && store.connection.state !== "live" && state.setConnection({ state: "live", since: Date.now() }),
  down: broken,
};
const stream = new SharedStream(on, store.trace);

let loading = 0;
let reload = 0;

/** Load afresh and follow. A failed load is tried again until it works. */
export async function load() {
  const turn = ++loading;
  clearTimeout(reload);
  held = [];
  try {
    await stream.join(store.trace);
    if (turn !== loading) return;
    const [ended, underWay] = await snapshot();
    if (turn !== loading) return;
    state.loaded(ended, underWay);
    const news = held;
    held = null;
    news.forEach((change) => change());
    state.setConnection({ state: "live", since: Date.now() });
  } catch (problem) {
    if (turn !== loading) return;
    lost(Date.now() + RELOAD_MS);
    reload = setTimeout(load, RELOAD_MS);
  }
}

export function retryNow() {
  stream.retryNow();
  if (held) load();
}

async function snapshot() {
  const asked = [api.sagas({ sort: "-ended_at", limit: ARRIVALS })];
  if (store.trace) asked.push(api.sagas({ state: "running,rolling-back", sort: "started_at", limit: UNDER_WAY }));
  const [ended, underWay] = await Promise.all(asked);
  return [ended.items, underWay?.items ?? []];
}

function broken(nextTry) {
  lost(nextTry);
  // Unlike a stream, a request says why it fails: if the token is needed, the person is asked for it.
  api.sagas({ limit: 1 }).catch(() => {});
}

function lost(nextTry) {
  const since = store.connection.state === "lost" ? store.connection.since : Date.now();
  state.setConnection({ state: "lost", since, nextTry });
}
