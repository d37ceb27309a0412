// Client of the console's HTTP API.

import { learn } from "./clock.js";

/** A failed request. */
export class Problem extends Error {
  /**
   * @param {number} status the HTTP status, or 0 without a response
   * @param {Partial<ProblemBody>} [body]
   * @param {boolean} [isUnknown] whether the server may or may not have applied the change
   */
  constructor(status, body = {}, isUnknown = false) {
    super(body.detail || body.title || `The server returned status ${status}.`);
    this.status = status;
    this.title = body.title || "";
    this.detail = body.detail || "";
    this.errors = /** @type {InputError[]} */ (Array.isArray(body.errors) ? body.errors : []);
    this.body = body;
    this.isUnknown = isUnknown;
  }
}

const READ_TIMEOUT_MS = 20_000;
const CHANGE_TIMEOUT_MS = 40_000;

const UNREACHABLE = { title: "The console cannot be reached", detail: "The page keeps trying to reconnect." };
const NO_RESPONSE = { title: "No response", detail: "The connection was lost before the console responded." };
const UNREADABLE = { title: "Incomplete response", detail: "The response of the console could not be read." };
/** @param {number} ms */
const timeoutBody = (ms) => ({
  title: "Timeout",
  detail: `The console did not respond within ${ms / 1000} s.`,
});

/**
 * `isChange`: the request changes something, so after a failure it matters whether the server applied it.
 * @typedef {Omit<RequestInit, "signal"> & { isChange?: boolean, signal?: AbortSignal }} Options
 */

/**
 * Called with the problem of a refused request, and whether the request was a change; resolves to true if the request
 * should be repeated.
 * @typedef {(problem: Problem, isChange: boolean) => Promise<boolean>} Recovery
 */

/** @type {Recovery} */
let recover = async () => false;

/**
 * Set what may resolve a refusal, such as a sign-in dialog.
 * @param {Recovery} recovery
 */
export function recoverWith(recovery) {
  recover = recovery;
}

/** How often a refusal was resolved, so that a request knows whether this happened while it was under way. */
let recoveries = 0;

/**
 * Send a request. If it is refused and the user signs in, repeat it; also if the user has signed in since it was sent.
 * @template T
 * @param {string} path
 * @param {Options} [options]
 * @returns {Promise<T>}
 */
async function call(path, options = {}) {
  const before = recoveries;
  try {
    return await request(path, options);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    const isOutdated = [401, 403].includes(problem.status) && recoveries > before;
    if (!isOutdated && !(await recover(problem, "method" in options))) throw problem;
    recoveries += isOutdated ? 0 : 1;
    return call(path, options);
  }
}

/**
 * @template T
 * @param {string} path
 * @param {Options} options
 * @returns {Promise<T>}
 */
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
    if (timeout.signal.aborted) throw new Problem(0, timeoutBody(limit), isChange);
    throw new Problem(0, isChange ? NO_RESPONSE : UNREACHABLE, isChange);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The body of a response; throws a `Problem` if it is an error or not JSON.
 * @template T
 * @param {Response} response
 * @param {boolean} isChange
 * @returns {Promise<T>}
 */
async function read(response, isChange) {
  learn(response.headers.get("Date"));
  const body = parseJson(await response.text());
  if (!response.ok) {
    const problem = /** @type {Partial<ProblemBody> | null} */ (body);
    throw new Problem(response.status, problem ?? proxyProblem(response), isChange && isUndecided(response, problem));
  }
  if (body === null) throw new Problem(response.status, UNREADABLE, isChange);
  return /** @type {T} */ (body);
}

/** @param {string} text @returns {unknown} null if it is not JSON */
function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * For an error response without JSON: it comes from a proxy, not from the console.
 * @param {Response} response
 */
const proxyProblem = ({ status, statusText }) => ({
  title: "Unexpected response",
  detail: `The console or a proxy returned status ${status}${statusText ? ` ${statusText}` : ""}.`,
});

/**
 * Whether a change may have been applied. After a server or proxy error it may, unless the body rules that out.
 * @param {Response} response
 * @param {Partial<ProblemBody> | null} body
 */
function isUndecided({ status }, body) {
  if (status < 500 && status !== 408) return false;
  if (body?.outcome) return body.outcome !== "none";
  return !/^nothing was (accepted|sent)\b/i.test(body?.detail ?? "");
}

/** @param {QueryValues} values */
function query(values) {
  const pairs = Object.entries(values).filter(([, value]) => value !== "" && value != null);
  return pairs.length ? `?${new URLSearchParams(pairs.map(([key, value]) => [key, String(value)]))}` : "";
}

/** @param {string} id */
const saga = (id) => `/api/sagas/${encodeURIComponent(id)}`;

/**
 * @typedef {{
 *   (filter: QueryValues & { group: true }, signal?: AbortSignal): Promise<Page<DeadLetterGroup>>,
 *   (filter: QueryValues, signal?: AbortSignal): Promise<Page<DeadLetterItem>>,
 * }} GetErrors dead letters, or with `group` their groups by service, step and error
 */

export const api = {
  /** @param {QueryValues} filter @param {AbortSignal} [signal] @returns {Promise<SagaPage>} */
  sagas: (filter, signal) => call(`/api/sagas${query(filter)}`, { signal }),

  /** @param {string} id @param {AbortSignal} [signal] @returns {Promise<SagaNow>} */
  saga: (id, signal) => call(saga(id), { signal }),

  /** @param {string} id @param {AbortSignal} [signal] @returns {Promise<Timeline>} */
  trace: (id, signal) => call(`${saga(id)}/trace`, { signal }),

  /** @returns {Promise<Plan>} */
  plan: () => call("/api/plan"),

  /** @returns {Promise<Stats>} */
  stats: () => call("/api/stats"),

  errors: /** @type {GetErrors} */ ((filter, signal) => call(`/api/errors${query(filter)}`, { signal })),

  /** @param {DeadLetterItem} item @param {AbortSignal} [signal] @returns {Promise<DeadLetterWhole>} */
  letter: ({ topic, partition, offset }, signal) =>
    call(`/api/errors/${encodeURIComponent(topic)}/${partition}/${offset}`, { signal }),

  /** @param {Intent} intent @param {Intervention} wanted @param {AbortSignal} [signal] @returns {Promise<Applied>} */
  intervene: (intent, wanted, signal) =>
    call(`/api/errors/${intent}`, {
      isChange: !wanted.dry_run,
      method: "POST",
      body: JSON.stringify(wanted),
      headers: { "Content-Type": "application/json" },
      signal,
    }),

  /**
   * Onboard new users. Repeating a request with the same key creates no duplicates.
   * @param {NewUsersRequest} request
   * @returns {Promise<Accepted | AcceptedList>}
   */
  onboard: ({ body, type, key }) =>
    call("/api/users", {
      isChange: true,
      method: "POST",
      body,
      headers: { "Content-Type": type, "Idempotency-Key": key },
    }),
};
