import assert from "node:assert/strict";
import { test } from "node:test";
import { usePlan } from "../../saga_app/console/page/core/plan.js";
import { density, lanesFor, PAD, shares } from "../../saga_app/console/page/live/lanes.js";
import { remark, result, retrying } from "../../saga_app/console/page/live/row_notes.js";
import { Slots } from "../../saga_app/console/page/live/slots.js";
import { at, LIBRARY, START, saga, visit } from "./plans.js";

/** @param {number} n @param {number} [first] */
const ids = (n, first = 0) => Array.from({ length: n }, (_, i) => `s${first + i}`);

test("the last lane is half as wide as the others, and all of them fill the track", () => {
  for (let count = 2; count <= 8; count++) {
    const all = shares(count);
    assert.equal(all.length, count);
    assert(Math.abs(all.reduce((sum, share) => sum + share, 0) - 1) < 1e-9);
    assert(Math.abs(all[0] - 2 * all[count - 1]) < 1e-9);
  }
});

test("a token keeps half its width from both edges of each lane", () => {
  const lanes = lanesFor(700, 4);
  assert.deepEqual(
    lanes.map(({ x, width }) => [Math.round(x), Math.round(width)]),
    [
      [13, 174],
      [213, 174],
      [413, 174],
      [613, 74],
    ],
  );
});

test("in lanes narrower than a token it does not move, and stays within the track", () => {
  for (const width of [0, 100, 288]) {
    for (const lane of lanesFor(width, 8)) {
      assert(lane.width >= 0);
      assert(lane.x <= Math.max(PAD, width - PAD));
    }
  }
});

test("four stations are labelled on a phone, five have small labels, six only icons", () => {
  const phone = 358;
  assert.equal(density(phone, 4), "roomy");
  assert.equal(density(phone, 5), "tight");
  for (const count of [6, 7, 8]) assert.equal(density(phone, count), "icons");
});

test("up to eight stations have labels in a window of 1440 pixels", () => {
  const desktop = 528;
  for (const count of [2, 3, 4, 5]) assert.equal(density(desktop, count), "roomy");
  for (const count of [6, 7, 8]) assert.equal(density(desktop, count), "tight");
});

test("users take the first free slots in order", () => {
  const slots = new Slots();
  slots.arrange(new Set(ids(3)), ids(3), 10);
  assert.deepEqual(slots.entries(), [
    [0, "s0"],
    [1, "s1"],
    [2, "s2"],
  ]);
});

test("a user keeps the slot until the end, and the next one takes it", () => {
  const slots = new Slots();
  slots.arrange(new Set(ids(3)), ids(3), 10);
  slots.arrange(new Set(["s0", "s2"]), ["s0", "s2"], 10);
  assert.deepEqual(slots.entries(), [
    [0, "s0"],
    [2, "s2"],
  ]);
  slots.arrange(new Set(["s0", "s2", "s3"]), ["s0", "s2", "s3"], 10);
  assert.deepEqual(slots.entries(), [
    [0, "s0"],
    [1, "s3"],
    [2, "s2"],
  ]);
});

test("there are no more slots than the limit, also when it becomes lower", () => {
  const slots = new Slots();
  slots.arrange(new Set(ids(10)), ids(10), 4);
  assert.equal(slots.taken, 4);
  slots.arrange(new Set(ids(10)), ids(10), 2);
  assert.deepEqual(slots.entries(), [
    [0, "s0"],
    [1, "s1"],
  ]);
});

test("empty slots at the end are dropped", () => {
  const slots = new Slots();
  slots.arrange(new Set(ids(5)), ids(5), 10);
  slots.arrange(new Set(["s0"]), ["s0"], 10);
  assert.equal(slots.length, 1);
});

test("rows move up only when more than ten slots are empty", () => {
  const slots = new Slots();
  slots.arrange(new Set(ids(13)), ids(13), 20);
  slots.arrange(new Set(["s1", "s10"]), [], 20);
  assert.deepEqual(slots.entries(), [
    [1, "s1"],
    [10, "s10"],
  ]);
  slots.arrange(new Set(["s12", ...ids(13)]), ids(13), 20);
  slots.arrange(new Set(["s12"]), [], 20);
  assert.deepEqual(slots.entries(), [[0, "s12"]]);
});

test("a failed step shows its next attempt and counts down to it", () => {
  usePlan(LIBRARY);
  /** @type {FailedAttempt} */
  const signal = { step: "register", attempt: 2, at: at(1000), attempts: 5, next_at: at(9000), kind: "failed" };
  assert.equal(retrying(saga(), [signal], START + 5500), "attempt 3 of 5 in 4 s");
  assert.equal(retrying(saga(), [signal], START + 9000), "attempt 3 of 5");
});

test("failures of other steps, of earlier requests and permanent ones are not retries", () => {
  usePlan(LIBRARY);
  /** @type {FailedAttempt} */
  const signal = { step: "register", attempt: 2, at: at(1000), attempts: 5, next_at: at(9000), kind: "failed" };
  const now = START + 2000;
  assert.equal(retrying(saga({ step: "print-card" }), [signal], now), null);
  assert.equal(retrying(saga({ history: [visit("register", 1500)] }), [signal], now), null);
  assert.equal(retrying(saga(), [{ ...signal, next_at: null }], now), null);
  assert.equal(retrying(saga(), [{ ...signal, kind: "overdue" }], now), null);
  assert.equal(retrying(saga(), [], now), null);
});

test("the notes of a row say what is unusual", () => {
  usePlan(LIBRARY);
  assert.equal(remark(saga()), "Sales");
  assert.equal(remark(saga({ overdue: true })), "Sales · overdue");
  assert.equal(remark(saga({ state: "parked", reason: "printer on fire" })), "parked: printer on fire");
  assert.equal(remark(saga({ state: "rolled-back", reason: "no card left" })), "no card left");
});

test("the result of a row is empty until the saga ends or turns back", () => {
  usePlan(LIBRARY);
  assert.equal(result(saga()), "");
  assert.equal(result(saga({ step: "unregister" })), "rolling back");
  assert.equal(result(saga({ state: "completed", overtook: 0 })), "done");
  assert.equal(result(saga({ state: "completed", overtook: 3 })), "overtook 3");
  assert.equal(result(saga({ state: "rollback-incomplete" })), "rollback incomplete");
});
