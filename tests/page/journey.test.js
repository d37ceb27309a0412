import assert from "node:assert/strict";
import { test } from "node:test";
import { usePlan } from "../../saga_app/console/page/core/plan.js";
import {
  compensated,
  legs,
  place,
  progress,
  requestedAt,
  stretches,
  turnOf,
} from "../../saga_app/console/page/live/journey.js";
import { at, HIRING, LIBRARY, START, saga, visit } from "./plans.js";

const USUAL = 1000;

/** @param {Saga} row */
const lanes = (row) => legs(row).map(({ lane }) => lane);

/** @param {number} ms @param {string} step @param {number | null} [nextAt] @returns {FailedAttempt} */
const failure = (ms, step, nextAt = null) => ({
  step,
  attempt: 1,
  at: at(ms),
  next_at: nextAt == null ? null : at(nextAt),
});

test("progress starts at 0, is proportional up to the usual time, and never reaches the end", () => {
  assert.equal(progress(-5, USUAL), 0);
  assert.equal(progress(0, USUAL), 0);
  assert.equal(progress(500, USUAL), 0.4);
  assert.equal(progress(1000, USUAL), 0.8);
  assert(progress(2000, USUAL) > progress(1500, USUAL));
  assert(progress(3_600_000, USUAL) < 1);
});

test("a saga that has just started has one open leg in the first lane", () => {
  usePlan(LIBRARY);
  const [leg, ...others] = legs(saga());
  assert.deepEqual(others, []);
  assert.equal(leg.lane, 0);
  assert.equal(leg.endedAt, null);
  assert.equal(leg.requestedAt, START);
});

test("each leg begins when the one before has ended", () => {
  usePlan(LIBRARY);
  const row = saga({ step: "finish", history: [visit("register", 600), visit("print-card", 1500)] });
  assert.deepEqual(lanes(row), [0, 1, 2]);
  assert.deepEqual(
    legs(row).map(({ requestedAt, endedAt }) => [requestedAt - START, endedAt && endedAt - START]),
    [
      [0, 600],
      [600, 1500],
      [1500, null],
    ],
  );
  assert.equal(requestedAt(row), START + 1500);
});

test("a completed saga has a closed leg in every lane", () => {
  for (const plan of [LIBRARY, HIRING]) {
    usePlan(plan);
    const history = plan.steps.map(({ name }, place) => visit(name, 500 * (place + 1)));
    const row = saga({ state: "completed", step: "finish", ended_at: at(9000), history });
    assert.deepEqual(
      lanes(row),
      plan.steps.map((_, lane) => lane),
    );
    assert(legs(row).every(({ endedAt }) => endedAt !== null));
  }
});

test("compensations are no legs, and no leg is open during a rollback", () => {
  usePlan(LIBRARY);
  const history = [visit("register", 500), visit("print-card", 1000, "denied")];
  assert.deepEqual(lanes(saga({ state: "rolling-back", step: "unregister", history })), [0, 1]);
  const row = saga({ state: "rolled-back", step: "unregister", history: [...history, visit("unregister", 1500)] });
  assert.deepEqual(lanes(row), [0, 1]);
  assert.deepEqual([...compensated(row).keys()], ["unregister"]);
});

test("steps that are not in the plan follow the step before them", () => {
  usePlan(LIBRARY);
  const history = [visit("check-address", 500), visit("check-age", 1000)];
  assert.deepEqual(lanes(saga({ step: "ask-parents", history })), [0, 1, 2]);
  assert.deepEqual(lanes(saga({ step: "and-more", history: [...history, visit("ask-parents", 1500)] })), [0, 1, 2, 2]);
  assert.deepEqual(lanes(saga({ step: "print-card", history: [visit("register", 500)] })), [0, 1]);
});

test("a rollback with unknown compensations shows only the steps before it", () => {
  usePlan(LIBRARY);
  const history = [visit("check-address", 500), visit("check-age", 1000, "denied"), visit("forget-address", 1500)];
  const row = saga({ state: "rolling-back", step: "forget-all", history });
  assert.deepEqual(lanes(row), [0, 1]);
  assert.equal(place(row, START + 1600, USUAL).back, true);
});

test("a closed leg has a stretch of waiting and a stretch of work", () => {
  usePlan(LIBRARY);
  const [leg] = legs(saga({ step: "print-card", history: [visit("register", 500)] }));
  assert.deepEqual(stretches(leg, [], 0), [
    { kind: "wait", from: 0, to: 100 },
    { kind: "work", from: 100, to: 500 },
  ]);
});

test("an open leg waits as long as usual and then works without an end", () => {
  usePlan(LIBRARY);
  const [leg] = legs(saga());
  assert.deepEqual(stretches(leg, [], 300), [
    { kind: "wait", from: 0, to: 300 },
    { kind: "work", from: 300, to: Infinity },
  ]);
  assert.deepEqual(stretches(leg, [], Infinity), [{ kind: "wait", from: 0, to: Infinity }]);
});

test("a failed attempt is followed by a stretch up to the next one", () => {
  usePlan(LIBRARY);
  const [leg] = legs(saga());
  assert.deepEqual(stretches(leg, [failure(200, "register", 900), failure(50, "print-card", 60)], 0), [
    { kind: "work", from: 0, to: 200 },
    { kind: "retry", from: 200, to: 900 },
    { kind: "work", from: 900, to: Infinity },
  ]);
  assert.deepEqual(stretches(leg, [failure(200, "register")], 0), [
    { kind: "work", from: 0, to: 200 },
    { kind: "work", from: 200, to: Infinity },
  ]);
});

test("the token of a completed saga is at the end of the last lane", () => {
  usePlan(LIBRARY);
  assert.deepEqual(place(saga({ state: "completed" }), START, USUAL), { lane: 2, along: 1, back: false });
  usePlan(HIRING);
  assert.deepEqual(place(saga({ state: "completed" }), START, USUAL), { lane: 7, along: 1, back: false });
});

test("the token of a running saga moves along the lane of its step", () => {
  usePlan(HIRING);
  const row = saga({ step: "contract", history: [visit("open", 500)] });
  assert.deepEqual(place(row, START + 500, USUAL), { lane: 1, along: 0, back: false });
  assert.deepEqual(place(row, START + 1000, USUAL), { lane: 1, along: 0.4, back: false });
});

test("the token of a parked saga stays where it was when the saga was parked", () => {
  usePlan(LIBRARY);
  const row = saga({ state: "parked", updated_at: at(500) });
  assert.deepEqual(place(row, START + 60_000, USUAL), { lane: 0, along: 0.4, back: false });
});

test("during a rollback the token moves back along the lane of the compensation", () => {
  usePlan(HIRING);
  const history = [visit("open", 500), visit("contract", 1000, "denied")];
  const row = saga({ state: "rolling-back", step: "close", history });
  assert.deepEqual(place(row, START + 1500, USUAL), { lane: 0, along: 0.6, back: true });
  assert.deepEqual(place(saga({ state: "rolled-back", step: "close", history }), START, USUAL), {
    lane: 0,
    along: 0,
    back: true,
  });
});

test("after an incomplete rollback the token is at the first compensation that failed", () => {
  usePlan(HIRING);
  const history = [
    visit("open", 500),
    visit("contract", 1000),
    visit("badge", 1500, "denied"),
    visit("end-contract", 2000, "failed"),
    visit("close", 2500),
  ];
  const row = saga({ state: "rollback-incomplete", step: "close", history });
  assert.deepEqual(place(row, START, USUAL), { lane: 1, along: 0, back: true });
  assert.equal(place(saga({ state: "rollback-incomplete", step: "close" }), START, USUAL).lane, 0);
});

test("the token of a saga of another plan is in a lane of this one", () => {
  usePlan(LIBRARY);
  const history = [visit("a", 500), visit("b", 1000), visit("c", 1500), visit("d", 2000)];
  assert.equal(place(saga({ step: "e", history }), START + 2500, USUAL).lane, 2);
  assert.equal(place(saga({ step: "a" }), START, USUAL).lane, 0);
});

test("a rollback starts in the lane of the step that did not succeed", () => {
  usePlan(HIRING);
  const history = [visit("open", 500), visit("contract", 1000, "denied")];
  assert.equal(turnOf(saga({ state: "rolling-back", step: "close", history })), 1);
  assert.equal(turnOf(saga({ step: "contract", history: [visit("open", 500)] })), null);
  assert.equal(turnOf(saga()), null);
});

test("a rollback by an operator starts at the last step that may have taken effect", () => {
  usePlan(HIRING);
  const history = [visit("open", 500), visit("contract", 1000, "cancelled"), visit("retract", 1500)];
  assert.equal(turnOf(saga({ state: "rolling-back", step: "return-laptop", history })), 6);
});

test("a compensation that fails does not start another rollback", () => {
  usePlan(HIRING);
  const history = [visit("open", 500), visit("close", 1000, "failed")];
  assert.equal(turnOf(saga({ state: "rollback-incomplete", step: "close", history })), null);
});
