// Onboarding from the page: one press, ten at once, a form, or a CSV file.

import { Problem, api } from "./api.js";
import { answer, refuse } from "./answer.js";
import { $, show, text } from "./dom.js";
import { fileDrop } from "./filedrop.js";
import { randomUser } from "./names.js";
import { store } from "./store.js";

/** Used until the server has said which departments there are. */
const DEPARTMENTS = ["Engineering", "Sales", "Finance", "People", "Support"];
const FIELDS = ["name", "email", "department"];
const MAX_CSV_BYTES = 10 * 1024 * 1024;

export function newUsers() {
  $("#new-user").addEventListener("click", one);
  $("#new-ten").addEventListener("click", ten);
  $("#new-form").addEventListener("click", toggleForm);
  $("#user-form").addEventListener("submit", submit);
  $("#new-csv").addEventListener("click", () => $("#csv-file").click());
  $("#csv-file").addEventListener("change", chosen);
  fileDrop($("#drop"), csv);
}

const random = () => {
  const departments = store.stats?.departments?.length ? store.stats.departments : DEPARTMENTS;
  return randomUser(store.department ? [store.department] : departments);
};

async function one() {
  const user = random();
  await send(api.onboard(user), (accepted) => answer(user.name, accepted.id));
}

async function ten() {
  await send(api.onboard(Array.from({ length: 10 }, random)), (accepted) => answer(`${accepted.accepted} users`));
}

function toggleForm() {
  const form = $("#user-form");
  show(form, form.hidden);
  $("#new-form").setAttribute("aria-expanded", String(!form.hidden));
  if (!form.hidden) form.elements.name.focus();
}

async function submit(event) {
  event.preventDefault();
  const form = event.target;
  const user = Object.fromEntries(FIELDS.map((field) => [field, form.elements[field].value.trim()]));
  clearErrors(form);
  await send(
    api.onboard(user),
    (accepted) => {
      answer(user.name, accepted.id);
      form.reset();
      form.elements.name.focus();
    },
    (problem) => fieldErrors(form, problem),
  );
}

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

async function csv(file) {
  if (file.size > MAX_CSV_BYTES)
    return refuse(new Problem(413, { title: `${file.name} is over 10 MiB`, detail: "Nothing was sent." }));
  await send(api.onboardCsv(await file.text()), (accepted) => answer(`${accepted.accepted} users of ${file.name}`));
}

/** Wait for the answer, and show it where the request was made. */
async function send(request, accepted, placed = () => false) {
  try {
    accepted(await request);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    refuse(problem, placed(problem));
  }
}
