import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect } from "vitest";
import { toHex } from "../../src/domain/bytes.ts";
import type { Report } from "../../src/verifier/report.ts";
import type { TrustFile } from "../../src/verifier/trust-file.ts";

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

export interface Checked {
  pack: Uint8Array;
  trust: TrustFile | null;
  nowUs: number;
  report: Report;
}

/** Both verifiers must say the same: verdict, code, check, index, suspect and flags. */
export function expectAgreement(checked: readonly Checked[]): void {
  expect(checked.length).toBeGreaterThan(0);
  const lines = checked.map(({ pack, trust, nowUs }) =>
    JSON.stringify({ pack: toHex(pack), trust: trust && trustJson(trust), nowUs }),
  );
  const run = python(["-m", "dragons_verify", "--batch"], `${lines.join("\n")}\n`);
  expect(run.stderr).toBe("");
  const theirs = run.stdout
    .trim()
    .split("\n")
    .map((line) => said(JSON.parse(line) as Report));
  const ours = checked.map(({ report }) => said(report));
  const differing = ours.flatMap((o, n) =>
    JSON.stringify(o) === JSON.stringify(theirs[n]) ? [] : [{ n, ours: o, python: theirs[n] }],
  );
  expect(theirs).toHaveLength(ours.length);
  expect(differing).toEqual([]);
}

function said({ verdict, pinned, tenant, broken, flags }: Report) {
  return {
    verdict,
    pinned,
    tenant,
    broken: broken && {
      code: broken.code,
      check: broken.check,
      index: broken.index,
      suspect: broken.suspect,
      ledger: broken.ledger,
    },
    flags: (broken === null ? flags : [])
      .map(({ flag, ledger, count, at }) => JSON.stringify([flag, ledger, count, at]))
      .sort(),
  };
}

/** As an auditor would write it. */
export function trustJson(trust: TrustFile) {
  const { tenant, rootKey, keysetVersion, cosigners, witnesses, quorum, knownHead } = trust;
  return {
    format: "dragons trust 0",
    tenant,
    rootKey: toHex(rootKey),
    keysetVersion,
    ...(cosigners && { cosigners: cosigners.map(toHex) }),
    witnesses: witnesses.map(({ name, key }) => ({ name, key: toHex(key) })),
    ...(witnesses.length > 0 && { quorum }),
    ...(knownHead && {
      knownHead: {
        ledger: toHex(knownHead.ledgerId),
        size: knownHead.size,
        root: toHex(knownHead.root),
      },
    }),
    ...(trust.asOfUs !== null && { asOf: new Date(trust.asOfUs / 1000).toISOString() }),
    ...(trust.maxAgeUs !== null && { maxAgeSeconds: trust.maxAgeUs / 1_000_000 }),
  };
}
