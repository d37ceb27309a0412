// The operator's name, sent with every redrive and rollback. This browser remembers it.

import { h } from "./dom.js";

const KEY = "saga.by";
/** The longest name that the API accepts. */
const MAX_LENGTH = 64;
/** @type {Set<HTMLInputElement>} */
const inputs = new Set();

/**
 * The part of a request body that names the operator; empty without a name.
 * @returns {{ by?: string }}
 */
export function by() {
  const name = (localStorage.getItem(KEY) ?? "").trim();
  return name ? { by: name } : {};
}

/** " by ana", to be appended to what was done; "" without a name. */
export const signed = () => (by().by ? ` by ${by().by}` : "");

/** A labelled input for the operator's name. All inputs on the page show the same value. */
export function signature() {
  const input = h("input", { type: "text", maxlength: MAX_LENGTH, placeholder: "optional", autocomplete: "nickname" });
  input.value = localStorage.getItem(KEY) ?? "";
  input.addEventListener("input", () => {
    localStorage.setItem(KEY, input.value);
    for (const other of inputs) if (other !== input) other.value = input.value;
  });
  inputs.add(input);
  return h("label", { class: "signature" }, h("span", {}, "Your name"), input);
}

/**
 * The API's reasons for leaving something out: "already resolved", or "3 (already resolved), 1 (…)".
 * @param {LeftOut} [reasons]
 */
export function because(reasons = {}) {
  const all = Object.entries(reasons);
  if (all.length === 1 && all[0][1] === 1) return all[0][0];
  return all.map(([reason, count]) => `${count} (${reason})`).join(", ") || "it is no longer parked";
}

/**
 * A sentence that says that nothing was sent, and why.
 * @param {LeftOut | undefined} reasons
 * @param {boolean} isRepeat whether this repeats a request that the server may already have applied
 */
export const nothingSent = (reasons, isRepeat) =>
  `${isRepeat ? "Nothing more was sent" : "Nothing was sent"}: ${because(reasons)}.`;
