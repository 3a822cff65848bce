import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

/** The rooms that are pure have nothing to keep apart: their files share a process, which is quicker. */
const PURE = ["src/{console,domain,verifier}/**/*.test.ts"];

export default defineConfig({
  test: {
    pool: "forks",
    // One for each core: what waits for other processes leaves room for what computes.
    maxWorkers: availableParallelism(),
    // Real processes start in some tests; a machine with two busy cores needs the room.
    testTimeout: 30_000,
    hookTimeout: 30_000,
    projects: [
      { extends: true, test: { name: "pure", include: PURE, isolate: false } },
      {
        extends: true,
        test: { name: "whole", include: ["{src,sidecar,test}/**/*.test.ts"], exclude: PURE },
      },
    ],
  },
});
