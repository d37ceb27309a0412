// Who is at the controls: the name that stands at every redrive and rollback. This browser remembers it.

import { h } from "./dom.js";

const KEY = "saga.by";
/** As long as the console takes it. */
const LONGEST = 64;
const fields = new Set();

/** What is sent along; nothing if nobody gave a name, and the console says "somebody". */
export function by() {
  const name = (localStorage.getItem(KEY) ?? "").trim();
  return name ? { by: name } : {};
}

/** "by ana" */
export const signed = () => `by ${by().by ?? "somebody"}`;

/** A field for the name. There may be several; they always say the same. */
export function signature(label = "Your name") {
  const input = h("input", { type: "text", maxlength: LONGEST, placeholder: "somebody", autocomplete: "nickname" });
  input.value = localStorage.getItem(KEY) ?? "";
  input.addEventListener("input", () => {
    localStorage.setItem(KEY, input.value);
    for (const other of fields) if (other !== input) other.value = input.value;
  });
  fields.add(input);
  return h("label", { class: "signature" }, h("span", {}, label), input);
}

/** Why something was left out, in the console's words: "dealt with already", or "3 (dealt with already), 1 (…)". */
export function because(reasons = {}) {
  const all = Object.entries(reasons);
  if (all.length === 1 && all[0][1] === 1) return all[0][0];
  return all.map(([reason, count]) => `${count} (${reason})`).join(", ") || "it is not waiting any more";
}

/** Why nothing was sent. `isRepeat`: the outcome of the request before is not known, and it may have been carried out. */
export const nothingSent = (reasons, isRepeat) =>
  `${isRepeat ? "Nothing more was sent" : "Nothing was sent"}: ${because(reasons)}.`;
