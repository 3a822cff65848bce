import { expect, test } from "vitest";
import { lacks } from "../skips.ts";
import { python } from "./second.ts";

test.skipIf(lacks("python3"))("the Python verifier holds to the golden vectors", () => {
  const run = python(["-m", "unittest", "discover", "-s", "tests"]);
  expect(run.stderr).toMatch(/Ran \d+ tests/);
  expect(run.status).toBe(0);
});
