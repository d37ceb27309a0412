// The content of an error box.

import { h, icon } from "./dom.js";

const UNKNOWN_OUTCOME = "It is not known whether the request was executed.";
const SAFE_TO_REPEAT = "It is safe to retry: nothing is executed twice.";

/**
 * @param {unknown} problem a `Problem` or another `Error`
 * @param {string} [title] used if the problem has no title
 * @param {HTMLElement | null} [retry] a button that retries
 * @returns {Element[]}
 */
export function complaint(problem, title = "The request failed", retry = null) {
  const { title: ownTitle, message, isUnknown } = /** @type {Partial<import("./api.js").Problem>} */ (problem);
  const words = isUnknown
    ? [h("strong", {}, UNKNOWN_OUTCOME), h("p", {}, message), h("p", {}, SAFE_TO_REPEAT)]
    : [h("strong", {}, ownTitle || title), h("p", {}, message)];
  return [icon("warn"), h("div", {}, words), ...(retry ? [retry] : [])];
}

/**
 * A button that repeats a request whose outcome is unknown; null for any other problem.
 * @param {import("./api.js").Problem} problem
 * @param {() => unknown} retry
 */
export const retryButton = (problem, retry) =>
  problem.isUnknown ? h("button", { type: "button", onclick: retry }, "Retry") : null;
