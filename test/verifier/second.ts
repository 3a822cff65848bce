import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect } from "vitest";
import { toHex } from "../../src/domain/bytes.ts";
import type { Report } from "../../src/verifier/report.ts";
import type { TrustFile } from "../../src/verifier/trust-file.ts";
import { owed } from "../vectors/corpus.ts";
import { trustJson } from "./trust-json.ts";

/** The second verifier, which shares nothing with ours but the text of docs/formats.md. */
const FOLDER = join(import.meta.dirname, "../../verifiers/python");

export function python(args: readonly string[], input = "") {
  return spawnSync("python3", [...args], {
    cwd: FOLDER,
    encoding: "utf8",
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1" },
    input,
    maxBuffer: 1 << 30,
  });
}

interface Asked {
  readonly pack: Uint8Array;
  readonly trust: object | null;
  readonly nowUs: number;
}

/** What it says of each. `trust` is a trust file as JSON. */
export function askPython(cases: readonly Asked[]): Report[] {
  // Of a run of all mutations one text would be longer than texts can be.
  const runs = Array.from({ length: Math.ceil(cases.length / atOnce) }, (_, n) =>
    askOnce(cases.slice(n * atOnce, (n + 1) * atOnce)),
  );
  return runs.flat();
}

const atOnce = 4000;

function askOnce(cases: readonly Asked[]): Report[] {
  const lines = cases.map((c) => JSON.stringify({ ...c, pack: toHex(c.pack) }));
  const run = python(["-m", "dragons_verify", "--batch"], `${lines.join("\n")}\n`);
  expect(run.stderr).toBe("");
  return run.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Report);
}

export interface Checked {
  pack: Uint8Array;
  trust: TrustFile | null;
  nowUs: number;
  report: Report;
}

/** Both verifiers must say the same: verdict, code, check, index, suspect, flags and of the states. */
export function expectAgreement(checked: readonly Checked[]): void {
  expect(checked.length).toBeGreaterThan(0);
  const asked = checked.map((c) => ({ ...c, trust: c.trust && trustJson(c.trust), report: null }));
  const theirs = askPython(asked).map(said);
  const ours = checked.map(({ report }) => said(report));
  const differing = ours.flatMap((o, n) =>
    JSON.stringify(o) === JSON.stringify(theirs[n]) ? [] : [{ n, ours: o, python: theirs[n] }],
  );
  expect(theirs).toHaveLength(ours.length);
  expect(differing).toEqual([]);
}

const said = (report: Report) => ({
  ...owed(report),
  pinned: report.pinned,
  tenant: report.tenant,
  history: report.broken === null ? historyOf(report) : "",
});

/** What came of deciding the states again, and of how many changes it is so. */
function historyOf({ checks }: Report): string {
  const line = checks.find((c) => c.name === "HISTORY");
  return `${line?.status} ${line?.held}`;
}
