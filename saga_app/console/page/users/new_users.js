// Onboarding from the page: one random user, ten random users, a form, or a CSV file.

import { Problem } from "../core/api.js";
import { $, show, text } from "../core/dom.js";
import { plural } from "../core/format.js";
import { store } from "../core/store.js";
import { answer, refuse, unanswered } from "./answer_box.js";
import { fileDrop } from "./file_drop.js";
import { randomUser } from "./sample_users.js";
import { submissions, submit } from "./submissions.js";

/** @import { Outcomes } from "./submissions.js" */

/** Used until the first stats with the list of departments arrive. */
const DEPARTMENTS = ["Engineering", "Sales", "Finance", "People", "Support"];
const FIELDS = ["name", "email", "department"];
const MAX_CSV_BYTES = 10 * 1024 * 1024;

export function newUsers() {
  $("#new-user").addEventListener("click", one);
  $("#new-ten").addEventListener("click", ten);
  $("#new-form").addEventListener("click", toggleForm);
  $("#user-form").addEventListener("submit", onboard);
  $("#new-csv").addEventListener("click", () => $("#csv-file").click());
  $("#csv-file").addEventListener("change", chosen);
  fileDrop($("#drop"), csv);
  submissions(unanswered, outcomes);
}

/** Handlers for the response to a request for `who`. @param {string} who @returns {Outcomes} */
const outcomes = (who) => ({
  accepted: ({ id, accepted = 0 }) => (id ? answer(who, id) : answer(plural(accepted, "user"))),
  refused: (problem) => refuse(problem),
});

const random = () => {
  const departments = store.stats?.departments?.length ? store.stats.departments : DEPARTMENTS;
  return randomUser(store.department ? [store.department] : departments);
};

/** @param {string} who @param {object} users one user or an array */
const json = (who, users) => ({ who, body: JSON.stringify(users), type: "application/json" });

function one() {
  const user = random();
  submit("one", () => json(user.name, user), outcomes(user.name));
}

function ten() {
  submit("ten", () => json("10 users", Array.from({ length: 10 }, random)), outcomes("10 users"));
}

/** Onboard the user of a rolled-back saga again, as a new saga. @param {Saga} row */
export function beginAgain({ id, user }) {
  submit(`again ${id}`, () => json(user.name, { ...user, id, again: true }), outcomes(user.name));
}

function toggleForm() {
  const form = $("#user-form");
  show(form, form.hidden);
  $("#new-form").setAttribute("aria-expanded", String(!form.hidden));
  if (!form.hidden) input(form, "name").focus();
}

/** @param {SubmitEvent} event */
function onboard(event) {
  event.preventDefault();
  const form = $("#user-form");
  const user = entered(form);
  const request = json(user.name || "the user in the form", user);
  clearErrors(form);
  submit(`form ${request.body}`, () => request, {
    accepted: ({ id }) => {
      answer(user.name, id);
      if (JSON.stringify(entered(form)) !== request.body) return; // the form already contains the next user
      form.reset();
      input(form, "name").focus();
    },
    refused: (problem) => refuse(problem, fieldErrors(form, problem)),
  });
}

/** @param {HTMLFormElement} form @param {string} field */
const input = (form, field) => /** @type {HTMLInputElement} */ (form.elements.namedItem(field));

/** @param {HTMLFormElement} form */
const entered = (form) => Object.fromEntries(FIELDS.map((field) => [field, input(form, field).value.trim()]));

/** @param {HTMLFormElement} form */
function clearErrors(form) {
  for (const field of FIELDS) {
    show($(`#f-${field}-error`), false);
    input(form, field).removeAttribute("aria-invalid");
    input(form, field).removeAttribute("aria-describedby");
  }
}

/**
 * Show each error at its form field. Errors without a field are left to the message box.
 * @param {HTMLFormElement} form @param {Problem} problem @returns {boolean} whether every error has a field
 */
function fieldErrors(form, problem) {
  const placed = problem.errors.filter(({ field }) => FIELDS.includes(lastPart(field)));
  for (const { field, message } of placed) {
    const target = input(form, lastPart(field));
    const line = $(`#${target.id}-error`);
    text(line, line.hidden ? message : `${line.textContent}; ${message}`);
    show(line, true);
    target.setAttribute("aria-invalid", "true");
    target.setAttribute("aria-describedby", line.id);
  }
  if (placed.length) /** @type {HTMLElement} */ (form.querySelector("[aria-invalid]")).focus();
  return placed.length > 0 && placed.length === problem.errors.length;
}

/** The last part of a dotted path: "email" for "user.email". @param {string | null} [path] */
const lastPart = (path) =>
  String(path ?? "")
    .split(".")
    .at(-1) ?? "";

function chosen() {
  const input = $("#csv-file");
  const [file] = input.files ?? [];
  input.value = ""; // so that choosing the same file again fires "change"
  if (file) csv(file);
}

/** Send the file's bytes unchanged: the server detects the encoding, as for every client. @param {File} file */
async function csv(file) {
  if (file.size > MAX_CSV_BYTES)
    return refuse(new Problem(413, { title: `${file.name} is larger than 10 MiB`, detail: "Nothing was sent." }));
  const body = await file.arrayBuffer().catch(() => null);
  if (body === null)
    return refuse(new Problem(0, { title: `${file.name} cannot be read`, detail: "Nothing was sent." }));
  return submit(`csv ${file.name} ${digest(body)}`, () => ({ who: file.name, body, type: "text/csv" }), {
    ...outcomes(file.name),
    accepted: ({ accepted = 0, encoding }) =>
      answer(`${plural(accepted, "user")} from ${file.name}${readAs(encoding)}`),
  });
}

/** Name an encoding other than UTF-8, so that a wrong detection is visible. @param {string | null} [encoding] */
const readAs = (encoding) => (!encoding || encoding === "utf-8" ? "" : `, read as ${encoding}`);

/** Fingerprint of a file's content: its length and 32-bit FNV-1a hash. @param {ArrayBuffer} buffer */
function digest(buffer) {
  let hash = 0x811c9dc5;
  for (const byte of new Uint8Array(buffer)) hash = Math.imul(hash ^ byte, 0x01000193);
  return `${buffer.byteLength} ${hash >>> 0}`;
}
