// What one can do about a saga in trouble, below the sentence that says why it is.

import { Problem, api } from "./api.js";
import { ask } from "./ask.js";
import { complaint } from "./complaint.js";
import { h, icon, show, text } from "./dom.js";
import { because, by, signature, signed } from "./operator.js";
import { canRedrive, canRollBack } from "./plan.js";

/** `changed()` is called when something has been sent. */
export function actions(changed) {
  const redrive = h("button", { type: "button", onclick: again }, icon("retry"), "Redrive");
  const rollback = h("button", { type: "button", onclick: back }, icon("back"), "Roll back…");
  const buttons = h("div", { class: "actions" }, redrive, rollback, signature("Signed as"));
  const said = h("p", { class: "said", role: "status" });
  const refused = h("div", { class: "broken", role: "alert", hidden: true });
  const element = h("section", { class: "drawer-actions", "aria-label": "What to do" }, buttons, said, refused);
  let row = null;

  function paint(now) {
    if (now?.id !== row?.id) say("");
    row = now;
    const held = element.contains(document.activeElement);
    show(redrive, row !== null && canRedrive(row));
    show(rollback, row !== null && canRollBack(row));
    show(buttons, !redrive.hidden || !rollback.hidden);
    if (held && !element.contains(document.activeElement)) document.querySelector("#drawer-title").focus();
  }

  function say(sentence) {
    text(said, sentence);
    show(refused, false);
  }

  async function again() {
    const { id, step } = row;
    redrive.disabled = true;
    try {
      const { count, left_out: reasons } = await api.intervene("redrive", { ids: [id], ...by() });
      const sent = `Redriven ${signed()}: ${step} is asked for again.`;
      if (id === row?.id) say(count ? sent : `Nothing was sent: ${because(reasons)}.`);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (id === row?.id) refuse(problem);
    } finally {
      redrive.disabled = false;
    }
    changed();
  }

  async function back() {
    const { id, user } = row;
    const title = () => `Roll back the onboarding of ${user.name}?`;
    const done = await ask({ intent: "rollback", title, ids: [id], what: `The onboarding of ${user.name}` });
    if (done && id === row?.id) say(done);
    changed();
  }

  function refuse(problem) {
    refused.replaceChildren(...complaint(problem));
    show(refused, true);
  }

  paint(null);
  return { element, paint };
}
