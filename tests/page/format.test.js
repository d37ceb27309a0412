import assert from "node:assert/strict";
import { test } from "node:test";
import { learn, now } from "../../saga_app/console/page/core/clock.js";
import {
  clock,
  clockMs,
  countdown,
  duration,
  initials,
  number,
  plural,
  rate,
  sentence,
  utc,
  zone,
} from "../../saga_app/console/page/core/format.js";

test("a duration has the unit that suits its length", () => {
  assert.deepEqual([0, 0.0124, 0.0995, 3.94, 9.96, 41, 59.96, 99.4, 125, 3599, 3600, 3900, 360_000].map(duration), [
    "0 ms",
    "12 ms",
    "0.1 s",
    "3.9 s",
    "10.0 s",
    "41.0 s",
    "60.0 s",
    "99 s",
    "2 min 5 s",
    "59 min 59 s",
    "1 h 0 min",
    "1 h 5 min",
    "100 h 0 min",
  ]);
});

test("a duration that is missing is a dash, and a negative one is zero", () => {
  assert.deepEqual([null, undefined, Number.NaN].map(duration), ["–", "–", "–"]);
  assert.equal(duration(-3), "0 ms");
});

test("a countdown is rounded up to whole seconds", () => {
  assert.deepEqual([0.1, 1, 1.2, 99.4, 252].map(countdown), ["1 s", "1 s", "2 s", "100 s", "4 min 12 s"]);
});

test("a rate has a decimal below a hundred per second", () => {
  assert.deepEqual([0, 12.44, 99.6, 1234, null].map(rate), ["0.0/s", "12.4/s", "100/s", "1,234/s", "–"]);
});

test("numbers have separators, and nouns their plural", () => {
  assert.deepEqual([number(1234567), number(null)], ["1,234,567", "–"]);
  assert.deepEqual(
    [plural(1, "user"), plural(0, "user"), plural(2, "entry", "entries")],
    ["1 user", "0 users", "2 entries"],
  );
});

test("initials are those of the first and the last word", () => {
  assert.deepEqual(["Ada Lovelace", "  grace   brewster hopper ", "Plato", "", "élise", "李 小龍"].map(initials), [
    "AL",
    "GH",
    "P",
    "",
    "É",
    "李小",
  ]);
});

test("an initial is a whole character as a reader sees it", () => {
  assert.equal(initials("👩‍🚀 Astro"), "👩‍🚀A");
  assert.equal(initials("e\u0301mile"), "E\u0301");
});

test("a sentence begins with a capital letter", () => {
  assert.deepEqual(["notify", "", null, undefined].map(sentence), ["Notify", "", "", ""]);
});

test("a time names its zone, and its day unless that is today", () => {
  const today = new Date(now());
  today.setHours(14, 3, 5, 42);
  assert.equal(clock(today.toISOString()), `14:03:05 ${zone(today)}`);
  assert.equal(clockMs(today.toISOString()), `14:03:05.042 ${zone(today)}`);
  const other = new Date(2021, 10, 7, 14, 3, 5);
  assert.equal(clock(other.getTime()), `7 Nov 2021 14:03:05 ${zone(other)}`);
});

test("a time that is missing or invalid is a dash", () => {
  assert.deepEqual([null, undefined, "", "soon"].map(clock), ["–", "–", "–", "–"]);
  assert.equal(clockMs("soon"), "–");
});

test("UTC has the format of the command line and the logs", () => {
  assert.equal(utc("2026-11-27T11:03:22.418Z"), "2026-11-27 11:03:22.418Z");
  assert.equal(utc("soon"), "soon");
});

test("the clock follows the server's, except for small differences", () => {
  learn(new Date(Date.now() - 60_000).toUTCString());
  assert(Math.abs(Date.now() - 60_000 - now()) <= 1100);
  learn("not a date");
  assert(Math.abs(Date.now() - 60_000 - now()) <= 1100);
  learn(new Date().toUTCString());
  assert(Math.abs(Date.now() - now()) <= 5);
});
