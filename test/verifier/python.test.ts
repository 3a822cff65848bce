import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { lacks } from "../skips.ts";

/** The second verifier, which shares nothing with ours but the text of docs/formats.md. */
const folder = join(import.meta.dirname, "../../verifiers/python");
const environment = { ...process.env, PYTHONDONTWRITEBYTECODE: "1" };

test.skipIf(lacks("python3"))("the Python verifier holds to the golden vectors", () => {
  const run = spawnSync("python3", ["-m", "unittest", "discover", "-s", "tests"], {
    cwd: folder,
    encoding: "utf8",
    env: environment,
  });
  expect(run.stderr).toMatch(/Ran \d+ tests/);
  expect(run.status).toBe(0);
});
