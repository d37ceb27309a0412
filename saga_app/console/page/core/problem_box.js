// What did not work, and why: the inside of a box that says so where it was tried.

import { h, icon } from "./dom.js";

const UNKNOWN = "It is not known whether this was carried out.";
const HARMLESS = "It is safe to send it again: nothing is done twice.";

/** `title` stands for a problem that has none; `again` is a button, if trying again makes sense. */
export function complaint(problem, title = "That did not work", again = null) {
  const given = problem.title || title;
  const words = problem.isUnknown
    ? [h("strong", {}, UNKNOWN), h("p", {}, problem.message), h("p", {}, HARMLESS)]
    : [h("strong", {}, given), h("p", {}, problem.message)];
  return [icon("warn"), h("div", {}, words), again].filter(Boolean);
}

/** A button that sends a request again whose outcome is not known; otherwise none. */
export const retryButton = (problem, retry) =>
  problem.isUnknown ? h("button", { type: "button", onclick: retry }, "Retry") : null;
