import assert from "node:assert/strict";
import { test } from "node:test";
import { isQuick } from "../../saga_app/console/page/errors/batches.js";
import { hexdump, pretty } from "../../saga_app/console/page/errors/hexdump.js";

test("up to five seconds of messages are sent in one request", () => {
  assert(isQuick(100, 20));
  assert(!isQuick(101, 20));
  assert(isQuick(1, 1));
});

test("JSON is indented, and any other text is left as it is", () => {
  assert.equal(pretty('{"a":[1]}'), '{\n  "a": [\n    1\n  ]\n}');
  assert.equal(pretty("{broken"), "{broken");
  assert.equal(pretty(""), "");
});

test("bytes are shown with their offset, in hexadecimal and as characters", () => {
  assert.equal(hexdump(btoa("\xff\xfe no JSON")), `000000  ff fe 20 6e 6f 20 4a 53 4f 4e${" ".repeat(18)}  .. no JSON`);
});

test("each line of a dump has sixteen bytes", () => {
  const lines = hexdump(btoa("a".repeat(33))).split("\n");
  assert.deepEqual(
    lines.map((line) => line.slice(0, 6)),
    ["000000", "000010", "000020"],
  );
  assert(lines[0].endsWith(`  ${"a".repeat(16)}`));
  assert.equal(hexdump(""), "");
});

test("a long message is cut, and the dump says so", () => {
  const lines = hexdump(btoa("a".repeat(5000))).split("\n");
  assert.equal(lines.length, 4096 / 16 + 1);
  assert.equal(lines.at(-1), "… 4096 of 5000 bytes");
});
