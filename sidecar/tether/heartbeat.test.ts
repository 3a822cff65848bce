import { describe, expect, test } from "vitest";
import { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import type { LeaseBody } from "../../src/domain/lease.ts";
import type { Verified } from "../../src/domain/signed.ts";
import type { WorkLedger } from "../ledger/work-ledger.ts";
import { type BeatFacts, heartbeat } from "./heartbeat.ts";

/** Every number and every hash is another one, so that none can stand in another's place. */
const hash = (n: number): Uint8Array => new Uint8Array(32).fill(n);
const NOW = 1_800_000_000_000_000;
const head = { size: 21, root: hash(22), intentsOpened: 23, intentsHead: hash(24) };
const scopes = [{ scope: "read:payments", completed: 31, failed: 32, denied: 33 }];
const stats = {
  scopes,
  openIntents: 34,
  oldestOpenedUs: 35,
  health: "SLOW",
  lastReceiptId: "rcp_1",
  unacknowledged: 36,
} as const;
const ledgerOf = (more: object = {}) =>
  ({
    ledgerId: hash(20),
    head: () => head,
    stats: () => ({ ...stats, ...more }),
  }) as unknown as WorkLedger;
const lease = { ref: hash(41), body: { observeUntilUs: 42 } } as Verified<LeaseBody>;

const FACTS: BeatFacts = {
  heartbeatId: "hbt_1",
  tenantId: "acme",
  sessionEpoch: 1,
  counter: 2,
  nowUs: NOW,
  monotonicUs: 3_000,
  suspendedUs: 4,
  dueInUs: 5,
  loopLagUs: 6,
  agent: { state: () => "EXITED", exitCode: () => 7 },
  enforcement: "SEALED",
  ledger: ledgerOf(),
  novelty: { targets: 11, shapes: 12, outcomes: 13, actions: 14, repeats: 15 },
  lastProgressUs: 16,
  grantRef: hash(17),
  lease,
  autonomyLeftUs: 18,
  manifestHash: hash(19),
  directiveResults: [{ directiveId: "dir_1", outcome: "DONE", detail: "as told" }],
  spent: [{ scope: "write:ledger", actions: 51, bytes: 52 }],
};

describe("a beat says what the sidecar saw", () => {
  test("each of its fields from the fact that it tells of, and none is left out", () => {
    const told: HeartbeatBody = {
      version: 1,
      heartbeatId: "hbt_1",
      tenantId: "acme",
      ledgerId: hash(20),
      sessionEpoch: 1,
      counter: 2,
      wallUs: NOW,
      monotonicUs: 3_000,
      suspendedUs: 4,
      nextDueUs: NOW + 5,
      child: "EXITED",
      childExit: 8,
      inFlight: 34,
      oldestInFlightUs: 2_965,
      loopLagUs: 6,
      size: 21,
      root: hash(22),
      intentsOpened: 23,
      intentsHead: hash(24),
      scopes,
      novelty: FACTS.novelty,
      lastProgressUs: 16,
      grantRef: hash(17),
      leaseRef: hash(41),
      autonomyLeftUs: 18,
      manifestHash: hash(19),
      ledgerHealth: "SLOW",
      syncLag: 36,
      enforcement: "SEALED",
      directiveResults: FACTS.directiveResults,
      observeUntilUs: 42,
      spent: FACTS.spent,
    };
    const body = heartbeat(FACTS);
    expect(body).toStrictEqual(told);
    const absent = HeartbeatBody.empty();
    const fields = Object.keys(absent) as (keyof HeartbeatBody)[];
    expect(Object.keys(body).sort()).toEqual([...fields].sort());
    // Not even by chance: a field that a new version adds must be given a value of its own here.
    for (const field of fields) expect(body[field], field).not.toEqual(absent[field]);
    // And it arrives as it was made.
    expect(HeartbeatBody.decode(HeartbeatBody.encode(body))).toEqual(told);
  });

  test("without an agent, a lease or a call in flight: absent, and no age", () => {
    const ledger = ledgerOf({ openIntents: 0, oldestOpenedUs: null });
    expect(heartbeat({ ...FACTS, agent: null, lease: null, ledger })).toMatchObject({
      child: "ABSENT",
      childExit: 0,
      leaseRef: new Uint8Array(0),
      observeUntilUs: 0,
      inFlight: 0,
      oldestInFlightUs: 0,
    });
  });

  test("a call that was opened at this very moment is open", () => {
    const ledger = ledgerOf({ oldestOpenedUs: FACTS.monotonicUs });
    expect(heartbeat({ ...FACTS, ledger }).oldestInFlightUs).toBe(1);
  });

  test.each([
    ["RUNNING", null, 0],
    ["EXITED", 0, 1],
    ["EXITED", 255, 256],
  ] as const)("an agent that is %s with %s is told as %i", (state, code, childExit) => {
    const agent = { state: () => state, exitCode: () => code };
    expect(heartbeat({ ...FACTS, agent })).toMatchObject({ child: state, childExit });
  });
});
