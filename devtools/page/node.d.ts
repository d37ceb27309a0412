/** The parts of Node.js that the tests in tests/page use; without `@types/node`, so that the page cannot use Node.js. */

declare module "node:test" {
  export function test(name: string, body: () => void | Promise<void>): void;
  export function afterEach(body: () => void): void;
}

declare module "node:assert/strict" {
  const assert: {
    (value: unknown, message?: string): asserts value;
    equal(actual: unknown, expected: unknown, message?: string): void;
    notEqual(actual: unknown, expected: unknown, message?: string): void;
    deepEqual(actual: unknown, expected: unknown, message?: string): void;
    match(actual: string, pattern: RegExp): void;
    throws(body: () => unknown, expected?: RegExp): void;
    rejects(promise: Promise<unknown>, expected?: RegExp | object): Promise<void>;
  };
  export default assert;
}
