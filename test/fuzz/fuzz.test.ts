import { expect, test } from "vitest";
import { lacks } from "../skips.ts";
import { fuzz } from "./fuzz.ts";

test.skipIf(lacks("python3"))(
  "both verifiers agree on packs that a seed decides",
  async () => {
    const { cases, outcomes, difference } = await fuzz(20261129, (n) => n < 80);
    expect(difference).toBeNull();
    expect(cases).toBe(80);
    // Honest ones among them, and spoiled ones in many ways.
    expect(outcomes.get("ANCHORED")).toBeGreaterThan(0);
    expect(outcomes.size).toBeGreaterThan(15);
  },
  120_000,
);
