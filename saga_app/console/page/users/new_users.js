// Onboarding from the page: one press, ten at once, a form, or a CSV file.

import { Problem } from "../core/api.js";
import { $, show, text } from "../core/dom.js";
import { plural } from "../core/format.js";
import { store } from "../core/store.js";
import { answer, refuse, unanswered } from "./answer_box.js";
import { fileDrop } from "./file_drop.js";
import { randomUser } from "./sample_users.js";
import { submissions, submit } from "./submissions.js";

/** Used until the server has said which departments there are. */
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

/** What is done with the answer to a request for `who`. */
const outcomes = (who) => ({
  accepted: ({ id, accepted }) => (id ? answer(who, id) : answer(plural(accepted, "user"))),
  refused: refuse,
});

const random = () => {
  const departments = store.stats?.departments?.length ? store.stats.departments : DEPARTMENTS;
  return randomUser(store.department ? [store.department] : departments);
};

const json = (who, users) => ({ who, body: JSON.stringify(users), type: "application/json" });

function one() {
  const user = random();
  submit("one", () => json(user.name, user), outcomes(user.name));
}

function ten() {
  submit("ten", () => json("10 users", Array.from({ length: 10 }, random)), outcomes("10 users"));
}

/** Onboard the user of a saga that was rolled back, as a saga of its own. */
export function beginAgain({ id, user }) {
  submit(`again ${id}`, () => json(user.name, { ...user, id, again: true }), outcomes(user.name));
}

function toggleForm() {
  const form = $("#user-form");
  show(form, form.hidden);
  $("#new-form").setAttribute("aria-expanded", String(!form.hidden));
  if (!form.hidden) form.elements.name.focus();
}

function onboard(event) {
  event.preventDefault();
  const form = event.target;
  const user = entered(form);
  const request = json(user.name || "the user of the form", user);
  clearErrors(form);
  submit(`form ${request.body}`, () => request, {
    accepted: ({ id }) => {
      answer(user.name, id);
      if (JSON.stringify(entered(form)) !== request.body) return; // it is filled in for the next user already
      form.reset();
      form.elements.name.focus();
    },
    refused: (problem) => refuse(problem, fieldErrors(form, problem)),
  });
}

const entered = (form) => Object.fromEntries(FIELDS.map((field) => [field, form.elements[field].value.trim()]));

function clearErrors(form) {
  for (const field of FIELDS) {
    show($(`#f-${field}-error`), false);
    form.elements[field].removeAttribute("aria-invalid");
    form.elements[field].removeAttribute("aria-describedby");
  }
}

/** Each message at its field; whatever belongs to no field stands below. Answers whether everything has a place. */
function fieldErrors(form, problem) {
  const placed = problem.errors.filter(({ field }) => FIELDS.includes(lastPart(field)));
  for (const { field, message } of placed) {
    const input = form.elements[lastPart(field)];
    const line = $(`#${input.id}-error`);
    text(line, line.hidden ? message : `${line.textContent}; ${message}`);
    show(line, true);
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-describedby", line.id);
  }
  if (placed.length) form.querySelector("[aria-invalid]").focus();
  return placed.length > 0 && placed.length === problem.errors.length;
}

const lastPart = (field) =>
  String(field ?? "")
    .split(".")
    .at(-1);

function chosen(event) {
  const [file] = event.target.files;
  event.target.value = ""; // the same file may be chosen again
  if (file) csv(file);
}

/** The bytes are sent as they are: the server finds out how they are encoded, for every client in the same way. */
async function csv(file) {
  if (file.size > MAX_CSV_BYTES)
    return refuse(new Problem(413, { title: `${file.name} is over 10 MiB`, detail: "Nothing was sent." }));
  const body = await file.arrayBuffer().catch(() => null);
  if (body === null)
    return refuse(new Problem(0, { title: `${file.name} cannot be read`, detail: "Nothing was sent." }));
  const accepted = ({ accepted, encoding }) => answer(`${plural(accepted, "user")} of ${file.name}${readAs(encoding)}`);
  const done = { ...outcomes(), accepted };
  return submit(`csv ${file.name} ${digest(body)}`, () => ({ who: file.name, body, type: "text/csv" }), done);
}

/** Named if it is not the usual one: a person sees whether the file was read as it was meant. */
const readAs = (encoding) => (!encoding || encoding === "utf-8" ? "" : `, read as ${encoding}`);

/** Tells one content from another (FNV-1a, 32 bits, and the length). */
function digest(buffer) {
  let hash = 0x811c9dc5;
  for (const byte of new Uint8Array(buffer)) hash = Math.imul(hash ^ byte, 0x01000193);
  return `${buffer.byteLength} ${hash >>> 0}`;
}
