// The server's time. The page shows how long things take now, so a browser whose clock is wrong must not mislead it.

/** Smaller differences are below what a `Date` header, which counts whole seconds, can tell. */
const LEAST_SKEW_MS = 2000;
let skew = 0;

/** Learn from the `Date` header of an answer that has just come. */
export function learn(date) {
  const ahead = Date.now() - (Date.parse(date) + 500);
  if (!Number.isNaN(ahead)) skew = Math.abs(ahead) < LEAST_SKEW_MS ? 0 : ahead;
}

/** Now, in milliseconds since 1970, by the server's clock. */
export const now = () => Date.now() - skew;
