// The console's HTTP interface.

import { overcome } from "../shell/sign_in.js";
import { learn } from "./clock.js";

/**
 * An answer that is not a success: `status` (0 without one), a `title`, a `detail`, and for input
 * `errors: [{index, line, field, message}]`. `isUnknown`: a change was requested, and may have been made or not.
 */
export class Problem extends Error {
  constructor(status, body = {}, isUnknown = false) {
    super(body.detail || body.title || `The server answered ${status}.`);
    this.status = status;
    this.title = body.title || "";
    this.detail = body.detail || "";
    this.errors = Array.isArray(body.errors) ? body.errors : [];
    this.body = body;
    this.isUnknown = isUnknown;
  }
}

/** How long an answer may take. Milliseconds. */
const READ_TIMEOUT_MS = 20_000;
const CHANGE_TIMEOUT_MS = 40_000;

const UNREACHABLE = { title: "The console cannot be reached", detail: "The page keeps trying to reach it." };
const LOST = { title: "No answer", detail: "The connection broke before the console answered." };
const CUT = { title: "The answer broke off", detail: "What the console answered could not be read." };
const LATE = (ms) => ({ title: "No answer in time", detail: `The console did not answer within ${ms / 1000} s.` });

/** A request; where the token is needed, repeated once the person has signed in. */
async function call(path, options = {}) {
  try {
    return await request(path, options);
  } catch (problem) {
    if (await overcome(problem, "method" in options)) return call(path, options);
    throw problem;
  }
}

/** A GET, or with `isChange` a request after whose failure it matters whether the server has carried it out. */
async function request(path, { isChange = false, signal, ...options }) {
  const limit = isChange ? CHANGE_TIMEOUT_MS : READ_TIMEOUT_MS;
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), limit);
  signal?.addEventListener("abort", () => timeout.abort(), { once: true });
  try {
    const response = await fetch(path, { headers: {}, cache: "no-store", ...options, signal: timeout.signal });
    return await read(response, isChange);
  } catch (error) {
    if (error instanceof Problem || signal?.aborted) throw error;
    if (timeout.signal.aborted) throw new Problem(0, LATE(limit), isChange);
    throw new Problem(0, isChange ? LOST : UNREACHABLE, isChange);
  } finally {
    clearTimeout(timer);
  }
}

async function read(response, isChange) {
  learn(response.headers.get("Date"));
  const text = await response.text();
  const body = parsed(text);
  if (!response.ok)
    throw new Problem(response.status, body ?? named(response), isChange && isUndecided(response, body));
  if (body === null) throw new Problem(response.status, CUT, isChange);
  return body;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** An answer that is not from the console, but from a proxy in between. */
const named = ({ status, statusText }) => ({
  title: "Not an answer of the console",
  detail: `The server answered ${status}${statusText ? ` ${statusText}` : ""}.`,
});

/** A server or proxy that fails says nothing about the change, unless the answer says that there was none. */
function isUndecided({ status }, body) {
  if (status < 500 && status !== 408) return false;
  if (body?.outcome) return body.outcome !== "none";
  return !/^nothing was (accepted|sent)\b/i.test(body?.detail ?? "");
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
      isChange: !wanted.dry_run,
      method: "POST",
      body: JSON.stringify(wanted),
      headers: { "Content-Type": "application/json" },
      signal,
    }),

  /** New users: JSON text or a file of CSV. The same request again with the same key onboards no user twice. */
  onboard: ({ body, type, key }) =>
    call("/api/users", {
      isChange: true,
      method: "POST",
      body,
      headers: { "Content-Type": type, "Idempotency-Key": key },
    }),
};
