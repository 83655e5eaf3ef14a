// What comes in and goes out: lines of JSON.

import { createInterface } from "node:readline";

/** Gives a function that resolves with the next order. */
export function readOrders() {
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  return async () => JSON.parse((await lines.next()).value);
}

/** Gives an answer. */
export function tell(answer) {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
