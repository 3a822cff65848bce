import { expect, test } from "vitest";
import { readTraceparent } from "./traceparent.ts";

const GOOD = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

test.each([
  [GOOD, GOOD],
  [null, ""],
  [undefined, ""],
  ["", ""],
  ["pay the invoice of Mrs Smith", ""],
  [GOOD.toUpperCase(), ""],
  [`${GOOD}-more`, ""],
  [` ${GOOD}`, ""],
  [GOOD.replace(/^00/, "ff"), ""],
  [`00-${"0".repeat(32)}-00f067aa0ba902b7-01`, ""],
  [`00-4bf92f3577b34da6a3ce929d0e0e4736-${"0".repeat(16)}-01`, ""],
])("%j is recorded as %j", (sent, recorded) => {
  expect(readTraceparent(sent)).toBe(recorded);
});
