// The operator's actions on one saga: redrive, roll back, begin again.

import { api, Problem } from "../core/api.js";
import { $, h, icon, show, text } from "../core/dom.js";
import { isFocusLost } from "../core/focus.js";
import { by, nothingSent, signature, signed } from "../core/operator.js";
import { canBeginAgain, canRedrive, canRollBack } from "../core/plan.js";
import { complaint, retryButton } from "../core/problem_box.js";
import { ask } from "../errors/confirm.js";
import { beginAgain } from "../users/new_users.js";

/** @param {() => void} changed called after an action was sent */
export function actions(changed) {
  const redrive = h("button", { type: "button", onclick: again }, icon("retry"), "Redrive");
  const rollback = h("button", { type: "button", onclick: back }, icon("back"), "Roll back…");
  const restart = h("button", { type: "button", onclick: () => row && beginAgain(row) }, icon("retry"), "Begin again");
  const signedAs = signature();
  const buttons = h("div", { class: "actions" }, redrive, rollback, restart, signedAs);
  const said = h("p", { class: "said", role: "status", tabindex: "-1" });
  const refused = h("div", { class: "broken", role: "alert", hidden: true });
  const element = h("section", { class: "drawer-actions", "aria-label": "Actions" }, buttons, said, refused);
  /** @type {Saga | null} */
  let row = null;
  let isSending = false;
  /** Whether the outcome of an earlier redrive of this saga is unknown. */
  let isUnknown = false;

  /** @param {Saga | null} now */
  function paint(now) {
    if (now?.id !== row?.id) say("");
    row = now;
    const held = element.contains(document.activeElement);
    show(redrive, row !== null && canRedrive(row));
    show(rollback, row !== null && canRollBack(row));
    show(restart, row !== null && canBeginAgain(row));
    show(signedAs, !redrive.hidden || !rollback.hidden);
    show(
      buttons,
      [redrive, rollback, restart].some((button) => !button.hidden),
    );
    if (held && isFocusLost()) focusNext();
  }

  /** Move the focus from a removed button to the outcome, or else to the title. */
  function focusNext() {
    (said.textContent ? said : $("#drawer-title")).focus();
  }

  /** @param {string} sentence */
  function say(sentence) {
    const held = refused.contains(document.activeElement);
    isUnknown = false;
    text(said, sentence);
    show(refused, false);
    if (held) focusNext();
  }

  /** Redrive. The button stays enabled during the request: a disabled button would lose the focus. */
  async function again() {
    if (isSending || !row) return;
    const { id, step } = row;
    const isRepeat = isUnknown;
    isSending = true;
    redrive.setAttribute("aria-busy", "true");
    try {
      const { count, left_out: reasons } = await api.intervene("redrive", { ids: [id], ...by() });
      if (id === row?.id)
        say(count ? `Redriven${signed()}: ${step} is requested again.` : nothingSent(reasons, isRepeat));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (id === row?.id) refuse(problem);
    } finally {
      isSending = false;
      redrive.removeAttribute("aria-busy");
    }
    changed();
  }

  async function back() {
    if (!row) return;
    const { id, user } = row;
    const title = () => `Roll back the onboarding of ${user.name}?`;
    const done = await ask({ intent: "rollback", title, ids: [id], what: `The onboarding of ${user.name}` });
    if (done && id === row?.id) say(done);
    if (isFocusLost()) focusNext();
    changed();
  }

  /** @param {Problem} problem */
  function refuse(problem) {
    const held = refused.contains(document.activeElement);
    isUnknown ||= problem.isUnknown;
    text(said, "");
    refused.replaceChildren(...complaint(problem, undefined, retryButton(problem, again)));
    show(refused, true);
    if (held) (refused.querySelector("button") ?? redrive).focus();
  }

  paint(null);
  return { element, paint };
}
