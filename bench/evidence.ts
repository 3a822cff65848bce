/**
 * What evidence costs: writing a pack, and verifying it.
 *
 *     node bench/evidence.ts [receipts] [by the portable ways]
 *
 * Each part runs in a process of its own, as sidecars and `dragons verify` keep theirs, and tells processor time a
 * receipt: of all threads, and of the one that judges, which is what more cores do not shorten. Beside it stands
 * what one Ed25519 check of OpenSSL takes in that process at that moment: ratios hold where rates do not. Then the
 * same receipts, fewer of them, by the cryptography that browsers run and, where there is a python3, by the second verifier.
 */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SMALL } from "../sidecar/engine.ts";
import { AUDIT, verifyPack } from "../src/cli/actions/verify.ts";
import type { Crypto } from "../src/domain/crypto.ts";
import { noble } from "../src/domain/noble.ts";
import { native } from "../src/native/crypto.ts";
import { startedFrugal } from "../src/native/frugal.ts";
import { exportPack } from "../src/verifier/export.ts";
import { once } from "../src/verifier/pack.ts";
import type { Report } from "../src/verifier/report.ts";
import { isTrustFault, parseTrustFile, type TrustFile } from "../src/verifier/trust-file.ts";
import { verify } from "../src/verifier/verify.ts";
import { readLedger, writeLedger } from "./evidence-ledger.ts";

/** Microseconds of processor time since `from` a receipt. */
interface Cost {
  readonly all: number;
  readonly judging: number;
  readonly wall: number;
  /** One Ed25519 check. */
  readonly check: number;
  /** MiB, the most that was resident. */
  readonly resident: number;
}

const packOf = (folder: string): string => join(folder, "pack");

function trustOf(folder: string): TrustFile {
  const trust = parseTrustFile(native, readFileSync(join(folder, "trust"), "utf8"));
  if (isTrustFault(trust)) throw new Error(`${trust.field}: ${trust.fix}`);
  return trust;
}

/** What a part does, after its folder was filled. */
const PARTS = {
  async ledger(folder: string, count: number): Promise<void> {
    await writeLedger(folder, count);
  },
  async write(folder: string): Promise<void> {
    const { tenantId, evidence } = readLedger(folder);
    const file = openSync(packOf(folder), "w");
    for await (const chunk of exportPack(native, tenantId, [evidence])) writeSync(file, chunk);
    closeSync(file);
  },
  async node(folder: string): Promise<void> {
    anchored(await verifyPack(packOf(folder), trustOf(folder), Date.now() * 1000));
  },
  async portable(folder: string): Promise<void> {
    const options = { trust: trustOf(folder), nowUs: Date.now() * 1000 };
    anchored(await verify(noble, once(readFileSync(packOf(folder))), options));
  },
} as const;
type Part = keyof typeof PARTS;

function anchored({ verdict, findings }: Report): void {
  if (verdict !== "ANCHORED") throw new Error(`${verdict}: ${findings[0]}`);
}

const microseconds = ({ user, system }: NodeJS.CpuUsage): number => user + system;

/** Of a check, right after the part: the machine is then what it was. */
function checkUs(crypto: Crypto): number {
  const seed = new Uint8Array(32).fill(1);
  const [key, message] = [crypto.publicKey(seed), new Uint8Array(600)];
  const signature = crypto.sign(seed, message);
  const count = 2000;
  const from = process.cpuUsage();
  for (let i = 0; i < count; i++) crypto.verify(key, message, signature);
  return microseconds(process.cpuUsage(from)) / count;
}

async function part(name: Part, folder: string, count: number): Promise<Cost> {
  const [all, judging, wall] = [process.cpuUsage(), process.threadCpuUsage(), performance.now()];
  await PARTS[name](folder, count);
  return {
    all: microseconds(process.cpuUsage(all)) / count,
    judging: microseconds(process.threadCpuUsage(judging)) / count,
    wall: ((performance.now() - wall) * 1000) / count,
    resident: process.resourceUsage().maxRSS / 1024,
    check: checkUs(native),
  };
}

/** The part in a process of its own, started as those who do it for a living are. */
function apart(name: Part, folder: string, count: number): Cost {
  const { flags, env } = name === "write" ? SMALL : startedFrugal(AUDIT);
  const args = [...flags, import.meta.filename, "part", name, folder, String(count)];
  const { status, stdout } = spawnSync(process.execPath, args, {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (status !== 0) throw new Error(`${name}: exit ${status}`);
  return JSON.parse(stdout.toString()) as Cost;
}

function tell(what: string, { all, judging, wall, check, resident }: Cost): void {
  const rate = (us: number): string => `${Math.round(1e6 / us).toLocaleString("en")}/s`;
  console.log(
    `${`${what}:`.padEnd(18)}${all.toFixed(1)} µs (${rate(all)} a core), ${(all / check).toFixed(2)} of one check (${check.toFixed(1)} µs); ` +
      `judging alone ${judging.toFixed(1)} µs (${rate(judging)}); ${rate(wall)} of the clock; resident ${Math.round(resident)} MiB`,
  );
}

function main(receipts: number, few: number): void {
  const folder = mkdtempSync(join(tmpdir(), "dragons-bench-"));
  const [large, small] = [join(folder, "large"), join(folder, "small")];
  try {
    for (const [where, count] of [
      [large, receipts],
      [small, few],
    ] as const) {
      mkdirSync(where);
      apart("ledger", where, count);
    }
    console.log(`${receipts.toLocaleString("en")} receipts; by the portable ways ${few}`);
    tell("write", apart("write", large, receipts));
    tell("verify, node", apart("node", large, receipts));
    apart("write", small, few);
    tell("verify, portable", apart("portable", small, few));
    python(small, few);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function python(folder: string, count: number): void {
  const args = ["-m", "dragons_verify", packOf(folder), "--trust", join(folder, "trust")];
  const cwd = join(import.meta.dirname, "../verifiers/python");
  const began = performance.now();
  const { status, error } = spawnSync("python3", args, { cwd });
  const us = ((performance.now() - began) * 1000) / count;
  if (error) console.log("verify, python:   there is no python3");
  else if (status !== 0) throw new Error(`python: exit ${status}`);
  else console.log(`verify, python:   ${us.toFixed(0)} µs of the clock, ${Math.round(1e6 / us)}/s`);
}

const [first = "100000", ...rest] = process.argv.slice(2);
if (first === "part") {
  const [name, folder, count] = rest as [Part, string, string];
  console.log(JSON.stringify(await part(name, folder, Number(count))));
} else main(Number(first), Number(rest[0] ?? 1000));
