// The sign-in dialog, shown when the server refuses a request from this client. It exchanges the token for a cookie
// (HttpOnly) that authenticates later requests and the event stream. Where a token would not help, the dialog shows
// the server's explanation.

import { h, show, text } from "../core/dom.js";

/**
 * The result of the open dialog; null while none is open.
 * @type {Promise<boolean> | null}
 */
let open = null;

/**
 * Handle a 401 or 403; concurrent requests share one dialog. Resolves to true if the request should be repeated.
 * @param {import("../core/api.js").Problem} problem
 * @param {boolean} isChange
 */
export async function signInIfRefused(problem, isChange) {
  if (problem.status === 401) open ??= signIn(isChange);
  else if (problem.status === 403 && !isChange) open ??= explain(problem.message);
  else return false;
  try {
    return await open;
  } finally {
    open = null;
  }
}

/** @param {boolean} mayCancel false for reads: without them the page has nothing to show */
function signIn(mayCancel) {
  const token = h("input", { type: "password", autocomplete: "current-password", required: true, maxlength: 1000 });
  const refused = h("div", { class: "broken", role: "alert", hidden: true });
  const parts = [
    h("p", {}, "From your network, the console requires the token that its operator has set (SAGA_TOKEN)."),
    h("label", {}, h("span", {}, "Token"), token),
    refused,
  ];
  return modal("Sign in", parts, "Sign in", mayCancel, async () => {
    const reason = await exchange(token.value);
    text(refused, reason);
    show(refused, reason !== "");
    if (reason) token.select();
    return reason === "";
  });
}

/** @param {string} sentence */
function explain(sentence) {
  return modal("Not allowed", [h("p", {}, sentence)], "Try again", false, async () => true);
}

/**
 * Show a modal dialog.
 * @param {string} title
 * @param {HTMLElement[]} parts
 * @param {string} label of the submit button
 * @param {boolean} mayCancel
 * @param {() => Promise<boolean>} act called on submit; the dialog stays open if it resolves to false
 * @returns {Promise<boolean>} false if cancelled
 */
function modal(title, parts, label, mayCancel, act) {
  return new Promise((resolve) => {
    const cancel = h("button", { type: "button", onclick: () => end(false) }, "Cancel");
    const buttons = h("div", { class: "buttons" }, mayCancel && cancel, h("button", { class: "primary" }, label));
    const form = h("form", { method: "dialog" }, h("h2", { id: "sign-in-title" }, title), parts, buttons);
    const dialog = h("dialog", { class: "ask sign-in", "aria-labelledby": "sign-in-title" }, form);

    /** @param {boolean} isDone */
    function end(isDone) {
      dialog.close();
      dialog.remove();
      resolve(isDone);
    }

    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      if (mayCancel) end(false);
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (await act()) end(true);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * Exchange the token for the session cookie.
 * @param {string} token
 * @returns {Promise<string>} the reason of a failure, or ""
 */
async function exchange(token) {
  try {
    const answer = await fetch("/api/session", {
      method: "POST",
      body: JSON.stringify({ token }),
      headers: { "Content-Type": "application/json" },
    });
    if (answer.ok) return "";
    /** @type {Partial<ProblemBody>} */
    const problem = await answer.json().catch(() => ({}));
    return problem.detail || `The console returned status ${answer.status}.`;
  } catch {
    return "The console cannot be reached.";
  }
}
