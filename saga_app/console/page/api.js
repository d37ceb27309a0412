// The console's HTTP interface.

import { learn } from "./clock.js";
import { signIn } from "./signin.js";

/** An answer that is not a success: `status`, a `title`, a `detail`, and for input `errors: [{index, field, message}]`. */
export class Problem extends Error {
  constructor(status, body = {}) {
    super(body.detail || body.title || `The console answered ${status}.`);
    this.status = status;
    this.title = body.title || "";
    this.detail = body.detail || "";
    this.errors = Array.isArray(body.errors) ? body.errors : [];
    this.body = body;
  }
}

const UNREACHABLE = {
  title: "The console cannot be reached",
  detail: "Nothing was sent. The page keeps trying to reach it.",
};

const BROKEN_OFF = { title: "The answer broke off", detail: "What the console answered could not be read. Try again." };

/** A request; where the token is needed, repeated once the person has signed in. */
async function call(path, options = {}) {
  try {
    return await request(path, options);
  } catch (problem) {
    if (problem.status === 401 && (await signIn("method" in options))) return call(path, options);
    throw problem;
  }
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { headers: {}, cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, UNREACHABLE);
  }
  learn(response.headers.get("Date"));
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new Problem(response.status, body ?? {});
  if (body === null) throw new Problem(response.status, BROKEN_OFF);
  return body;
}

/** `key=value` pairs, without the empty ones. */
function query(values) {
  const pairs = Object.entries(values).filter(([, value]) => value !== "" && value != null);
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
}

const saga = (id) => `/api/sagas/${encodeURIComponent(id)}`;

export const api = {
  sagas: (filter, signal) => call(`/api/sagas${query(filter)}`, { signal }),
  saga: (id, signal) => call(saga(id), { signal }),
  trace: (id, signal) => call(`${saga(id)}/trace`, { signal }),
  stats: () => call("/api/stats"),
  errors: (filter, signal) => call(`/api/errors${query(filter)}`, { signal }),
  letter: ({ topic, partition, offset }, signal) =>
    call(`/api/errors/${encodeURIComponent(topic)}/${partition}/${offset}`, { signal }),

  /** An operator's intent, "redrive" or "rollback": `{ids}` or `{filter}`, with `dry_run`, `by` and `rate` (a second). */
  intervene: (intent, wanted, signal) =>
    call(`/api/errors/${intent}`, {
      method: "POST",
      body: JSON.stringify(wanted),
      headers: { "Content-Type": "application/json" },
      signal,
    }),

  /** One user, or a list of them. The key makes a repeated press of the same request harmless. */
  onboard: (users) => post(JSON.stringify(users), "application/json"),
  onboardCsv: (text) => post(text, "text/csv; charset=utf-8"),
};

function post(body, type) {
  return call("/api/users", { method: "POST", body, headers: { "Content-Type": type, "Idempotency-Key": key() } });
}

function key() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
