import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

/** What stands beside its code tests that alone, and keeps nothing: such files share processes, which is quicker. */
const UNITS = ["{src,sidecar}/**/*.test.ts"];

export default defineConfig({
  test: {
    pool: "forks",
    // One for each core: what waits for other processes leaves room for what computes.
    maxWorkers: availableParallelism(),
    // Real processes start in some tests; a machine with two busy cores needs the room.
    testTimeout: 30_000,
    hookTimeout: 30_000,
    projects: [
      { extends: true, test: { name: "units", include: UNITS, isolate: false } },
      {
        extends: true,
        test: { name: "whole", include: ["test/**/*.test.ts"] },
      },
    ],
  },
});
