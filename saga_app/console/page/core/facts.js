// What the steps of the plan find out (facts), as text.

import { sentence } from "./format.js";
import { plan } from "./plan.js";

/** Tables have columns for so many facts. */
const COLUMNS = 2;

/** The steps that find out a fact, in the order of the plan. */
export const factSteps = () => /** @type {FactStep[]} */ (plan.steps.filter(({ fact }) => fact));

/** The steps whose facts are columns of tables: the first ones that are not times. */
export const columnSteps = () =>
  factSteps()
    .filter((step) => step.fact_shown_as !== "time")
    .slice(0, COLUMNS);

/**
 * The label of a fact as a heading: "Device"
 * @param {PlanStep} step
 */
export const factTitle = ({ fact, fact_label: label }) => sentence(label || fact);

/**
 * The value of a step's fact: "LT-9f3c", "git, ci, cloud"; "" while it is not known. A time is returned as it is.
 * @param {PlanStep} step
 * @param {Record<string, unknown> | undefined} facts
 */
export function factText({ fact }, facts) {
  const value = fact ? facts?.[fact] : null;
  return (Array.isArray(value) ? value : [value])
    .filter((each) => each != null)
    .map(asText)
    .join(", ");
}

/** @param {unknown} value */
const asText = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));

/**
 * The result of a step, in a few words: its fact, or instead of a time what has happened ("e-mail sent").
 * @param {PlanStep | undefined} step
 * @param {Saga} row
 */
export function finding(step, row) {
  const found = step ? factText(step, row.facts) : "";
  return step?.fact_shown_as === "time" && found ? lowered(step.words.done) : found;
}

/**
 * The text with its first letter in lower case, unless it begins with an abbreviation.
 * @param {string} text
 */
const lowered = (text) => (/^\p{Lu}\p{Lu}/u.test(text) ? text : text.charAt(0).toLocaleLowerCase() + text.slice(1));

/**
 * Whether a fact is an identifier, which is shown in a monospaced font: "LT-9f3c", not "Ada Lovelace".
 * @param {PlanStep | undefined} step
 * @param {string} text
 */
export const isIdentifier = (step, text) => step?.fact_shown_as === "text" && /^\S*\d\S*$/.test(text);
