// What did not work, and why: the inside of a box that says so where it was tried.

import { h, icon } from "./dom.js";

/** `title` stands for a problem that has none; `again` is a button, if trying again makes sense. */
export function complaint(problem, title = "That did not work", again = null) {
  const words = h("div", {}, h("strong", {}, problem.title || title), h("p", {}, problem.message));
  return [icon("warn"), words, again].filter(Boolean);
}
