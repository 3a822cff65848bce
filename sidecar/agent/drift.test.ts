import { beforeEach, describe, expect, test } from "vitest";
import { driftAgainUs, driftSettleUs } from "../../src/domain/limits.ts";
import { ManualClock } from "../../src/native/clock.ts";
import { AuthorityHolder } from "../gate/authority.ts";
import type { RecordDraft } from "../ledger/work-ledger.ts";
import { Drift } from "./drift.ts";

const OURS = new Uint8Array(32).fill(1);
const OTHER = new Uint8Array(32).fill(2);

let clock: ManualClock;
let holder: AuthorityHolder;
let files: Uint8Array | Error;
let measured: number;
let recorded: RecordDraft[];
let told: number;
let drift: Drift;

beforeEach(() => {
  clock = new ManualClock(1_800_000_000_000_000);
  holder = new AuthorityHolder(clock, () => {
    throw new Error("nothing is decided here");
  });
  files = OURS;
  measured = 0;
  recorded = [];
  told = 0;
  drift = new Drift({
    latched: null,
    manifestHash: OURS,
    measure: async () => {
      measured++;
      if (files instanceof Error) throw files;
      return files;
    },
    holder,
    ledger: { record: (draft) => `rcp_${recorded.push(draft)}` },
    clock,
    report: () => {},
    drifted: () => told++,
  });
});

describe("drift", () => {
  test("ends authority at once, with one receipt, and is told", async () => {
    files = OTHER;
    await drift.look();
    expect(holder.standing.drifted).toBe(true);
    expect(recorded.map((r) => [r.kind, r.reason])).toEqual([["LIFECYCLE", "MANIFEST_DRIFT"]]);
    expect([told, drift.measured]).toEqual([1, OTHER]);
  });

  test("is what cannot be measured, too", async () => {
    files = new Error("a link");
    await drift.look();
    expect(holder.standing.drifted).toBe(true);
    expect(drift.measured).toEqual(new Uint8Array(32));
  });

  test("latches: files put back are told of, and change nothing until a release", async () => {
    files = OTHER;
    await drift.look();
    files = OURS;
    await drift.look();
    expect([holder.standing.drifted, drift.measured, recorded.length]).toEqual([true, OURS, 1]);
    await drift.forgive();
    expect(holder.standing.drifted).toBe(false);
  });

  test("is not forgiven while it lasts", async () => {
    files = OTHER;
    await drift.look();
    await drift.forgive();
    expect(holder.standing.drifted).toBe(true);
  });
});

describe("a change of files", () => {
  test("is looked at once it is quiet, however many were told", async () => {
    for (let i = 0; i < 100; i++) drift.changed();
    clock.advance(driftSettleUs - 1);
    expect(measured).toBe(0);
    clock.advance(1);
    await drift.look();
    // One for all the changes, and the one just asked for.
    expect(measured).toBe(2);
  });

  test("denies without any renewal", async () => {
    files = OTHER;
    drift.changed();
    clock.advance(driftSettleUs);
    await new Promise(setImmediate);
    expect(holder.standing.drifted).toBe(true);
  });

  test("right after a renewal's look is looked at as soon as any", async () => {
    await drift.look();
    files = OTHER;
    drift.changed();
    clock.advance(driftSettleUs);
    await new Promise(setImmediate);
    expect(holder.standing.drifted).toBe(true);
  });

  test("without end costs one look a second", async () => {
    for (let i = 0; i < 100; i++) {
      drift.changed();
      clock.advance(driftAgainUs / 10);
      await new Promise(setImmediate);
    }
    expect(measured).toBeGreaterThan(5);
    expect(measured).toBeLessThanOrEqual(11);
  });

  test("while files are being measured is looked at afterwards, and not at once", async () => {
    drift.changed();
    clock.advance(driftSettleUs);
    drift.changed();
    await new Promise(setImmediate);
    expect(measured).toBe(1);
    files = OTHER;
    clock.advance(driftAgainUs - 1);
    await new Promise(setImmediate);
    expect(measured).toBe(1);
    clock.advance(1);
    await new Promise(setImmediate);
    expect([measured, holder.standing.drifted]).toEqual([2, true]);
  });

  test("is not looked at after the end", async () => {
    drift.changed();
    drift.close();
    clock.advance(driftAgainUs);
    await new Promise(setImmediate);
    expect(measured).toBe(0);
  });
});
