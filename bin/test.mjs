// Runs the tests and closes with the runner's own count, on one line: `N passed, N failed[, N skipped]`.
// What was skipped is told with what it lacks, as test/skips.json has it; a skip that is not in there fails.
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";

const HOME = join(import.meta.dirname, "..");
const wanted = process.argv.slice(2);
// All that tests make lies in here, and goes with it. Short: unix sockets are in it, whose paths are bounded.
const folder = mkdtempSync(join(tmpdir(), "dt-"));
// Some tests, run by root, start programs as somebody without any right, who works in a folder in here.
chmodSync(folder, 0o711);
const report = join(folder, "report.json");
// Tests start our programs hundreds of times: each compiles what the one before has compiled already.
const NODE_COMPILE_CACHE = join(folder, "compiled");
const run = spawnSync(
  "vitest",
  ["run", "--reporter=default", "--reporter=json", `--outputFile.json=${report}`, ...wanted],
  { stdio: "inherit", env: { ...process.env, TMPDIR: folder, NODE_COMPILE_CACHE } },
);
let counts = null;
try {
  counts = JSON.parse(readFileSync(report, "utf8"));
} catch {
  process.stderr.write("the test runner left no report\n");
}
rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
if (counts === null) process.exit(run.status || 1);

const skips = JSON.parse(readFileSync(join(HOME, "test/skips.json"), "utf8"));
const skipped = counts.testResults.flatMap(({ name, assertionResults }) =>
  assertionResults
    .filter(({ status }) => status !== "passed" && status !== "failed")
    .map(({ ancestorTitles, title }) =>
      [relative(HOME, name), ...ancestorTitles, title].join(" > "),
    ),
);
// Tests that a pattern on the command line left out were not skipped by themselves.
const narrowed = wanted.some((w) => /^(?:-t|--testNamePattern)/.test(w));
let unlisted = 0;
for (const test of narrowed ? [] : skipped) {
  const skip = skips.find((s) => s.test === test);
  if (skip === undefined) unlisted++;
  const why = skip ? `${skip.missing} is missing: ${skip.reason}` : "NOT IN test/skips.json";
  process.stdout.write(`skipped: ${test} (${why})\n`);
}
// A file that fails to load fails no test of its own; it must not pass for that.
const silent = run.status !== 0 && counts.numFailedTests === 0 ? 1 : 0;
const failed = counts.numFailedTests + silent + unlisted;
const also = skipped.length > 0 ? `, ${skipped.length} skipped` : "";
process.stdout.write(`${counts.numPassedTests} passed, ${failed} failed${also}\n`);
process.exit(run.status || (unlisted > 0 ? 1 : 0));
