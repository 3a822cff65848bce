import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

/** What stands beside its code tests that alone, and keeps nothing: such files share processes, which is quicker. */
const UNITS = ["{src,sidecar}/**/*.test.ts"];

export default defineConfig({
  test: {
    pool: "forks",
    // One more than there are cores: half of what the tests take is waiting for processes that they started.
    maxWorkers: availableParallelism() + 1,
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
