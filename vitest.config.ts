import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["{src,sidecar,test}/**/*.test.ts"],
    pool: "forks",
    // Real processes start in some tests; a machine with two busy cores needs the room.
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
});
