import assert from "node:assert/strict";
import { test } from "node:test";
import {
  columnSteps,
  factSteps,
  factText,
  factTitle,
  finding,
  isIdentifier,
} from "../../saga_app/console/page/core/facts.js";
import {
  doneWords,
  isCompensating,
  isCompensation,
  isKnown,
  laneOf,
  lastLane,
  requestedWords,
  serviceLabel,
  serviceSummary,
  stepTitle,
  usePlan,
} from "../../saga_app/console/page/core/plan.js";
import { HIRING, LIBRARY, saga } from "./plans.js";

test("each step has the lane of its position in the plan", () => {
  for (const plan of [LIBRARY, HIRING]) {
    usePlan(plan);
    assert.deepEqual(
      plan.steps.map(({ name }) => laneOf(name)),
      plan.steps.map((_, lane) => lane),
    );
    assert.equal(lastLane(), plan.steps.length - 1);
  }
});

test("a compensation has the lane of the last step that it compensates", () => {
  usePlan(HIRING);
  assert.equal(laneOf("close"), 0);
  assert.equal(laneOf("revoke"), 3);
  assert.equal(laneOf("retract"), 6);
});

test("another plan replaces the steps of the one before", () => {
  usePlan(HIRING);
  assert(isKnown("badge"));
  usePlan(LIBRARY);
  assert(!isKnown("badge"));
  assert(isKnown("print-card"));
  assert(isKnown("unregister"));
});

test("only compensations are compensations", () => {
  usePlan(LIBRARY);
  assert(isCompensation("unregister"));
  assert(!isCompensation("register"));
  assert(!isCompensation("of-another-plan"));
});

test("a saga compensates at a compensation, and at an unknown step while it rolls back", () => {
  usePlan(LIBRARY);
  assert(isCompensating(saga({ state: "parked", step: "unregister" })));
  assert(isCompensating(saga({ state: "rolling-back", step: "of-another-plan" })));
  assert(!isCompensating(saga({ state: "running", step: "of-another-plan" })));
  assert(!isCompensating(saga({ state: "running", step: "register" })));
});

test("the words of a step come from the plan", () => {
  usePlan(HIRING);
  assert.equal(requestedWords("welcome"), "Letter requested");
  assert.equal(doneWords("welcome"), "Letter sent");
  assert.equal(doneWords("retract"), "Letter retracted");
});

test("a compensation that had nothing to compensate says so if the plan has words for it", () => {
  usePlan(HIRING);
  assert.equal(doneWords("retract", false), "No retraction needed");
  assert.equal(doneWords("close", false), "close was done");
});

test("a step that is not in the plan is shown by its name", () => {
  usePlan(LIBRARY);
  assert.equal(laneOf("check-address"), 0);
  assert.equal(stepTitle("check-address"), "Check address");
  assert.equal(requestedWords("check-address"), "Check address requested");
  assert.equal(doneWords("check-address"), "Check address done");
});

test("a service has the label and the summaries of its steps", () => {
  usePlan(LIBRARY);
  assert.equal(serviceLabel("desk"), "Desk");
  assert.equal(serviceSummary("desk"), "registers the reader, records completion");
  assert.equal(serviceLabel("archive-unit"), "Archive unit");
  assert.equal(serviceSummary("archive-unit"), "");
});

test("tables have columns for the first two facts that are not times", () => {
  usePlan(HIRING);
  assert.deepEqual(
    factSteps().map(({ fact }) => fact),
    ["file", "doors", "desk", "laptop", "sent_at"],
  );
  assert.deepEqual(columnSteps().map(factTitle), ["File", "Doors"]);
  usePlan(LIBRARY);
  assert.deepEqual(columnSteps().map(factTitle), ["Reader number"]);
});

test("a fact is shown as text, as a list, or as what has happened", () => {
  usePlan(HIRING);
  const row = saga({ facts: { file: "F-12", doors: ["front", "lab"], sent_at: "2026-11-27T12:00:00Z" } });
  const [open, , badge, , , , welcome] = HIRING.steps;
  assert.equal(finding(open, row), "F-12");
  assert.equal(finding(badge, row), "front, lab");
  assert.equal(finding(welcome, row), "letter sent");
  assert.equal(factText(welcome, row.facts), "2026-11-27T12:00:00Z");
});

test("a fact that is missing or of another type does not break the page", () => {
  const [open, contract] = HIRING.steps;
  assert.equal(factText(open, {}), "");
  assert.equal(factText(open, undefined), "");
  assert.equal(factText(open, { file: 7 }), "7");
  assert.equal(factText(open, { file: { a: 1 } }), '{"a":1}');
  assert.equal(factText(open, { file: [null, "x"] }), "x");
  assert.equal(finding(contract, saga()), "");
  assert.equal(finding(undefined, saga()), "");
});

test("an identifier is a text with a digit and without spaces", () => {
  const [open, , badge] = HIRING.steps;
  assert(isIdentifier(open, "LT-9F3C"));
  assert(!isIdentifier(open, "Ada Lovelace"));
  assert(!isIdentifier(open, ""));
  assert(!isIdentifier(badge, "door7"));
});
