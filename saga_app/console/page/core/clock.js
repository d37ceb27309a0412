// The server's clock. Elapsed times and countdowns use it, so a wrong browser clock does not distort them.

/** Smaller differences are ignored: a `Date` header has a resolution of one second. */
const LEAST_SKEW_MS = 2000;
let skewMs = 0;

/**
 * Estimate the clock skew from the `Date` header of a response that has just arrived.
 * @param {string | null} date
 */
export function learn(date) {
  const ahead = Date.now() - (Date.parse(date ?? "") + 500);
  if (!Number.isNaN(ahead)) skewMs = Math.abs(ahead) < LEAST_SKEW_MS ? 0 : ahead;
}

/** The server's current time in milliseconds since 1970. */
export const now = () => Date.now() - skewMs;
