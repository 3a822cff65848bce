// Runs the tests and closes with the runner's own count, on one line: `N passed, N failed[, N skipped]`.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "dragons-test-"));
const report = join(folder, "report.json");
const run = spawnSync(
  "vitest",
  [
    "run",
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
    ...process.argv.slice(2),
  ],
  { stdio: "inherit" },
);
let counts = null;
try {
  counts = JSON.parse(readFileSync(report, "utf8"));
} catch {
  process.stderr.write("the test runner left no report\n");
}
rmSync(folder, { recursive: true, force: true });
if (counts === null) process.exit(run.status || 1);
const skipped = counts.numPendingTests + counts.numTodoTests;
// A file that fails to load fails no test of its own; it must not pass for that.
const failed = counts.numFailedTests + (run.status !== 0 && counts.numFailedTests === 0 ? 1 : 0);
process.stdout.write(
  `${counts.numPassedTests} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}\n`,
);
process.exit(run.status ?? 1);
