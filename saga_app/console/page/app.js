// Entry point: loads the plan, which the other modules draw, and then the page.

import { api, recoverWith } from "./core/api.js";
import { $, h, text } from "./core/dom.js";
import { usePlan } from "./core/plan.js";
import { signInIfRefused } from "./shell/sign_in.js";

/** @import { Problem } from "./core/api.js" */

const RETRY_MS = 1000;

/** Load the plan; repeat until the console returns it. */
async function loadPlan() {
  for (;;) {
    try {
      return await api.plan();
    } catch (problem) {
      explain(/** @type {Problem} */ (problem));
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

const title = h("h1", { class: "big" });
const detail = h("p");
const message = h("div", { class: "empty", role: "status" }, title, detail);

/** @param {Problem} problem */
function explain(problem) {
  text(title, problem.title || "Loading failed");
  text(detail, `${problem.status ? `${problem.detail} ` : ""}Retrying every second.`);
  if (!message.isConnected) $("#main").append(message);
}

recoverWith(signInIfRefused);
usePlan(await loadPlan());
message.remove();
await import("./main.js");
$(".side").inert = false;
