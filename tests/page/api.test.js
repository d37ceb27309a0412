// The client of the API: refused requests, and sign-in while requests are under way.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { api, recoverWith } from "../../saga_app/console/page/core/api.js";

const fetchOfNode = globalThis.fetch;

afterEach(() => {
  globalThis.fetch = fetchOfNode;
  recoverWith(async () => false);
});

/** @param {number} status @param {unknown} body */
const response = (status, body) => new Response(JSON.stringify(body), { status });

test("a request that was refused before the user signed in is repeated without another dialog", async () => {
  let isSignedIn = false;
  let dialogs = 0;
  /** @type {(response: Response) => void} */
  let answerLate = () => {};
  const late = new Promise((resolve) => {
    answerLate = resolve;
  });
  let isFirst = true;
  globalThis.fetch = /** @type {typeof fetch} */ (
    async () => {
      if (isFirst) {
        isFirst = false;
        return /** @type {Promise<Response>} */ (late);
      }
      return isSignedIn ? response(200, { items: [] }) : response(401, {});
    }
  );
  recoverWith(async () => {
    dialogs += 1;
    isSignedIn = true;
    return true;
  });
  const slow = api.sagas({ limit: 1 });
  await api.sagas({ limit: 2 });
  answerLate(response(401, {}));
  assert.deepEqual(await slow, { items: [] });
  assert.equal(dialogs, 1);
});

test("a refused request fails if the user does not sign in", async () => {
  globalThis.fetch = /** @type {typeof fetch} */ (async () => response(401, {}));
  await assert.rejects(api.sagas({ limit: 1 }), { status: 401 });
});
