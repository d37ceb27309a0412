// The dialog that asks for the token, where this client may not read or change anything without it. The server answers
// with a cookie that scripts cannot read; every later request and the event stream carry it.

import { h, show, text } from "./dom.js";

let asking = null;

/**
 * Ask for the token after a 401, once for all requests that wait for it. Answers whether the person has signed in.
 * `mayCancel`: for a change; without reading there is nothing to go back to.
 */
export function signIn(mayCancel) {
  asking ??= ask(mayCancel).finally(() => (asking = null));
  return asking;
}

function ask(mayCancel) {
  return new Promise((resolve) => {
    const token = h("input", { type: "password", autocomplete: "current-password", required: true, maxlength: 1000 });
    const refused = h("div", { class: "broken", role: "alert", hidden: true });
    const cancel = h("button", { type: "button", hidden: !mayCancel, onclick: () => end(false) }, "Cancel");
    const dialog = h(
      "dialog",
      { class: "ask sign-in", "aria-labelledby": "sign-in-title" },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "sign-in-title" }, "Sign in"),
        h("p", {}, "From your network the console needs the token that its operator has set (SAGA_TOKEN)."),
        h("label", {}, h("span", {}, "Token"), token),
        refused,
        h("div", { class: "buttons" }, cancel, h("button", { type: "submit", class: "primary" }, "Sign in")),
      ),
    );

    function end(signedIn) {
      dialog.close();
      dialog.remove();
      resolve(signedIn);
    }

    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      if (mayCancel) end(false);
    });
    dialog.addEventListener("submit", async (event) => {
      event.preventDefault();
      const problem = await exchange(token.value);
      if (!problem) return end(true);
      text(refused, problem);
      show(refused, true);
      token.select();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Exchange the token for the cookie; answers why that did not work, or null. */
async function exchange(token) {
  try {
    const answer = await fetch("/api/session", {
      method: "POST",
      body: JSON.stringify({ token }),
      headers: { "Content-Type": "application/json" },
    });
    if (answer.ok) return null;
    const problem = await answer.json().catch(() => ({}));
    return problem.detail || `The console answered ${answer.status}.`;
  } catch {
    return "The console cannot be reached.";
  }
}
