import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openJournaled } from "../../src/storage/journaled.ts";
import { ledgerStore } from "../../src/storage/ledger-store.ts";
import { openLmdb } from "../../src/storage/lmdb.ts";
import { PayloadKeys } from "../../src/storage/payload-keys.ts";
import { check, headerOf } from "./fixture.ts";

const KILLS = Number(process.env.LEDGER_KILLS ?? 20);
const SEED = Number(process.env.LEDGER_SEED ?? 1);

/** mulberry32: the same seed kills after the same number of promises. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Told {
  /** How far the ledger had come when it opened; null: it was killed before. */
  ready: { size: number; intents: number } | null;
  intents: number;
  size: number;
  odd: string[];
}

/** Runs a loaded ledger and kills it after it has told so many lines. */
async function runAndKill(folder: string, lines: number): Promise<Told> {
  const child: ChildProcess = spawn(
    process.execPath,
    [join(import.meta.dirname, "child.ts"), folder, "load"],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const told: Told = { ready: null, intents: 0, size: 0, odd: [] };
  let left = lines;
  let rest = "";
  child.stdout?.setEncoding("latin1").on("data", (chunk: string) => {
    const whole = (rest + chunk).split("\n");
    rest = whole.pop() as string;
    for (const line of whole) {
      const [what, a, b] = line.split(" ");
      if (what === "ready") told.ready = { size: Number(a), intents: Number(b) };
      else if (what === "intent") told.intents = Math.max(told.intents, Number(a));
      else if (what === "size") told.size = Math.max(told.size, Number(a));
      else told.odd.push(line);
    }
    left -= whole.length;
    if (left <= 0) child.kill("SIGKILL");
  });
  await new Promise((resolve) => child.on("close", resolve));
  return told;
}

test(
  `${KILLS} kills under load: nothing promised is lost (LEDGER_SEED=${SEED})`,
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "dragons-crash-"));
    const next = random(SEED);
    let intents = 0;
    let size = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const told = await runAndKill(folder, 1 + Math.floor(next() ** 3 * 2000));
      expect(told.odd).toEqual([]);
      if (told.ready !== null) {
        // A start shows everything that was ever promised or told as durable.
        expect(told.ready.intents).toBeGreaterThanOrEqual(intents);
        expect(told.ready.size).toBeGreaterThanOrEqual(size);
      }
      intents = Math.max(intents, told.intents);
      size = Math.max(size, told.size, told.ready?.size ?? 0);
    }

    const store = await openJournaled(folder, () => openLmdb(folder));
    try {
      expect(check(store, folder)).toBeNull();
      const ledger = ledgerStore(store, PayloadKeys.open(folder));
      const state = ledger.state();
      expect(state?.intentsOpened).toBeGreaterThanOrEqual(intents);
      expect(state?.size).toBeGreaterThanOrEqual(size);
      const closed = ledger.receipts(1, Number.MAX_SAFE_INTEGER).map((r) => headerOf(r).intentSeq);
      const open = ledger.intents().map((i) => i.intentSeq);
      const all = [...closed.filter((n) => n > 0), ...open].sort((a, b) => a - b);
      expect(all).toEqual(Array.from({ length: state?.intentsOpened ?? 0 }, (_, i) => i + 1));
      expect(intents).toBeGreaterThan(KILLS);
    } finally {
      await store.close();
      await rm(folder, { recursive: true });
    }
  },
  20_000 + KILLS * 5_000,
);
