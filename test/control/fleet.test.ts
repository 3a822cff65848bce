import { expect, test } from "vitest";
import { restartUnder } from "./fleet.ts";

// `node bench/fleet.ts` does the same, and more, with thousands, over processes of their own.
test("a fleet is renewed after a restart of its control plane before any lease of it ends", async () => {
  const { afterMs, late } = await restartUnder(60);
  expect(afterMs).toHaveLength(60);
  expect(late).toBe(0);
});
