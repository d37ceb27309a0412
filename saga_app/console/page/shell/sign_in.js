// The dialog where this client may not read or change anything. It asks for the token; the server answers with a cookie
// that scripts cannot read, and every later request and the event stream carry it. Where no token would help, the
// dialog shows what the server says.

import { h, show, text } from "../core/dom.js";

let open = null;

/** After a 401 or 403: whether the request is worth repeating. All requests that fail meanwhile share one dialog. */
export async function overcome(problem, isChange) {
  if (problem.status === 401) open ??= signIn(isChange);
  else if (problem.status === 403 && !isChange) open ??= explain(problem.message);
  else return false;
  try {
    return await open;
  } finally {
    open = null;
  }
}

/** `mayCancel`: a change can be given up; without reading there is nothing to go back to. */
function signIn(mayCancel) {
  const token = h("input", { type: "password", autocomplete: "current-password", required: true, maxlength: 1000 });
  const refused = h("div", { class: "broken", role: "alert", hidden: true });
  const parts = [
    h("p", {}, "From your network the console needs the token that its operator has set (SAGA_TOKEN)."),
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

function explain(sentence) {
  return modal("Not allowed", [h("p", {}, sentence)], "Try again", false, async () => true);
}

/** A modal dialog; resolves to true when `act` says that it is done, to false when it is cancelled. */
function modal(title, parts, label, mayCancel, act) {
  return new Promise((resolve) => {
    const cancel = h("button", { type: "button", onclick: () => end(false) }, "Cancel");
    const buttons = h("div", { class: "buttons" }, mayCancel && cancel, h("button", { class: "primary" }, label));
    const form = h("form", { method: "dialog" }, h("h2", { id: "sign-in-title" }, title), parts, buttons);
    const dialog = h("dialog", { class: "ask sign-in", "aria-labelledby": "sign-in-title" }, form);

    function end(done) {
      dialog.close();
      dialog.remove();
      resolve(done);
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

/** Exchange the token for the cookie; answers why that did not work, or "". */
async function exchange(token) {
  try {
    const answer = await fetch("/api/session", {
      method: "POST",
      body: JSON.stringify({ token }),
      headers: { "Content-Type": "application/json" },
    });
    if (answer.ok) return "";
    const problem = await answer.json().catch(() => ({}));
    return problem.detail || `The console answered ${answer.status}.`;
  } catch {
    return "The console cannot be reached.";
  }
}
