import assert from "node:assert/strict";
import { test } from "node:test";
import { sagaAddress, sagaIn, viewAddress, viewIn } from "../../saga_app/console/page/core/address.js";

const VIEWS = ["live", "users", "errors"];

test("the address of a saga contains its id, whatever characters the id has", () => {
  for (const id of ["ada", "ada~2", "a/b?c#d", "ä+ö", "100%"]) assert.equal(sagaIn(sagaAddress(id)), id);
});

test("an id that is not encoded correctly is taken as it is", () => {
  assert.equal(sagaIn("#/sagas/100%"), "100%");
  assert.equal(sagaIn("#/sagas/ada?from=mail"), "ada");
});

test("the address of a view contains no saga", () => {
  for (const hash of ["", "#main", "#/users", "#/sagas/", "#/users?q=/sagas/x"]) assert.equal(sagaIn(hash), null);
});

test("a view is found with its query", () => {
  const { name, address, query } = viewIn("#/users?q=ada%20l&state=parked", VIEWS);
  assert.equal(name, "users");
  assert.equal(address, "#/users?q=ada%20l&state=parked");
  assert.deepEqual(
    [...query],
    [
      ["q", "ada l"],
      ["state", "parked"],
    ],
  );
});

test("the first view is shown for any other address", () => {
  for (const hash of ["", "#/", "#/nowhere", "#/constructor", "#/users/x"]) {
    assert.equal(viewIn(hash, VIEWS).name, "live");
    assert.equal(viewIn(hash, VIEWS).address, "#/live");
  }
});

test("empty values are left out of the address of a view", () => {
  assert.equal(viewAddress("users", { q: "ada l", state: "", sort: "" }), "#/users?q=ada+l");
  assert.equal(viewAddress("users", { q: "" }), "#/users");
});
