/**
 * What evidence costs: writing a pack, and verifying it.
 *
 *     node bench/evidence.ts [receipts] [by Python] [streamed]
 *
 * Receipts a second of processor time on one core, beside what one Ed25519 check takes on the same machine at
 * the same moment: ratios hold where rates do not. By node:crypto as `dragons verify` does it, by the portable
 * cryptography that browsers run, and, where there is a python3, by the second verifier. Then resident memory
 * while packs of growing size are written and read.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toHex } from "../src/domain/bytes.ts";
import { noble } from "../src/domain/noble.ts";
import { native } from "../src/native/crypto.ts";
import { exportPack, type LedgerEvidence } from "../src/verifier/export.ts";
import { once } from "../src/verifier/pack.ts";
import { verify } from "../src/verifier/verify.ts";
import { collect, Story } from "../test/verifier/build.ts";

const receipts = Number(process.argv[2] ?? 100_000);
const byPython = Number(process.argv[3] ?? 300);
const streamed = Number(process.argv[4] ?? 1_000_000);

/** Processor seconds of this process, all threads. */
function processorSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

async function measured<T>(work: () => Promise<T>): Promise<{ seconds: number; value: T }> {
  const from = processorSeconds();
  const value = await work();
  return { seconds: processorSeconds() - from, value };
}

const rate = (count: number, seconds: number): string =>
  `${Math.round(count / seconds).toLocaleString("en")} receipts/s, ${((seconds / count) * 1e6).toFixed(1)} µs each`;
const mib = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;

/** A ledger with so many receipts, its head countersigned. A lease lasts a minute, and time stands still. */
async function ledgerOf(count: number): Promise<Story> {
  const story = await Story.begin();
  await story.lifecycle();
  await story.lease();
  for (let i = 1; i < count; i++) await story.act({ openedAtUs: story.nowUs + i });
  story.tick(5_000_000);
  await story.beat();
  await story.checkpoint();
  return story;
}

async function signatureCheck(): Promise<number> {
  const seed = new Uint8Array(32).fill(1);
  const [key, message] = [native.publicKey(seed), new Uint8Array(600)];
  const signature = native.sign(seed, message);
  const count = 2000;
  const { seconds } = await measured(async () => {
    for (let i = 0; i < count; i++) native.verify(key, message, signature);
  });
  return seconds / count;
}

/** Pages as they come, the same two receipts again and again: the writer reads, hashes and forgets them. */
function endless(story: Story, size: number): LedgerEvidence {
  const evidence = story.evidence();
  const [first, second] = evidence.read(1, 2) as {
    signed: Uint8Array;
    row: Uint8Array;
    seq: number;
  }[];
  return {
    ...evidence,
    head: { size, intentsOpened: size },
    checkpoints: [],
    heartbeats: [],
    read: (from, limit) =>
      Array.from({ length: Math.min(limit, size - from + 1) }, (_, i) => {
        const row = from + i === 1 ? first : second;
        return { signed: row?.signed as Uint8Array, row: row?.row as Uint8Array, seq: from + i };
      }),
    openIntents: [],
  };
}

const small = await ledgerOf(byPython);
const story = await ledgerOf(receipts);
const evidence = story.evidence();
const one = await signatureCheck();
console.log(`${receipts} receipts; one signature check takes ${(one * 1e6).toFixed(1)} µs`);

const written = await measured(() => collect(exportPack(native, story.tenantId, [evidence])));
console.log(`write:            ${rate(receipts, written.seconds)}; ${mib(written.value.length)}`);

for (const [name, crypto, count] of [
  ["verify, node", native, receipts],
  ["verify, portable", noble, Math.min(receipts, 1000)],
] as const) {
  const of = count === receipts ? story : await ledgerOf(count);
  const pack = count === receipts ? written.value : await of.pack();
  const { seconds, value } = await measured(() =>
    verify(crypto, once(pack), { trust: of.trust, nowUs: of.nowUs }),
  );
  if (value.verdict !== "ANCHORED") throw new Error(`${name}: ${value.findings[0]}`);
  const times = (seconds / count / one).toFixed(2);
  console.log(`${`${name}:`.padEnd(18)}${rate(count, seconds)}; ${times} × one check`);
}

const folder = mkdtempSync(join(tmpdir(), "dragons-bench-"));
try {
  writeFileSync(join(folder, "pack"), await small.pack());
  const trust = { format: "dragons trust 0", tenant: "acme", rootKey: toHex(small.root.publicKey) };
  writeFileSync(join(folder, "trust"), JSON.stringify(trust));
  const began = performance.now();
  const args = ["-m", "dragons_verify", join(folder, "pack"), "--trust", join(folder, "trust")];
  const cwd = join(import.meta.dirname, "../verifiers/python");
  const { status, error } = spawnSync("python3", args, { cwd });
  const seconds = (performance.now() - began) / 1000;
  console.log(
    `verify, python:   ${error ? "there is no python3" : `${rate(byPython, seconds)} of the clock, exit ${status}`}`,
  );
} finally {
  rmSync(folder, { recursive: true });
}

for (const size of [streamed / 10, streamed]) {
  let [bytes, peak] = [0, 0];
  const { seconds } = await measured(async () => {
    for await (const chunk of exportPack(native, story.tenantId, [endless(small, size)], {
      range: { from: 1, to: size - 1 },
    })) {
      bytes += chunk.length;
      if (bytes % 64 === 0) peak = Math.max(peak, process.memoryUsage.rss());
    }
  });
  console.log(
    `write ${size}: ${rate(size, seconds)}; ${mib(bytes)}, resident at most ${mib(peak)}`,
  );
}
