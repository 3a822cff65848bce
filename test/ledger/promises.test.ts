import { describe, expect, test } from "vitest";
import { concat, equal, toHex, u64be } from "../../src/domain/bytes.ts";
import { commitment, leafHash, nextIntentsHead } from "../../src/domain/chain.ts";
import { ClaimBody } from "../../src/domain/claim.ts";
import { IntentBody } from "../../src/domain/intent.ts";
import { rootOf } from "../../src/domain/merkle.ts";
import { ActionBody, PayloadRow } from "../../src/domain/payload.ts";
import { SignedBytes } from "../../src/domain/signed.ts";
import { native } from "../../src/native/crypto.ts";
import { ledgerStore } from "../../src/storage/ledger-store.ts";
import {
  check,
  claimOf,
  closing,
  denial,
  draft,
  headersIn,
  LEDGER_ID,
  NOW_US,
  start,
  turn,
} from "./fixture.ts";

/** Whether a promise has settled after everything that was due has happened. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  void promise.then(
    () => (done = true),
    () => (done = true),
  );
  for (let i = 0; i < 3; i++) await turn();
  return done;
}

describe("an intent is durable before anything may be forwarded", () => {
  test("open waits for the write, and no longer", async () => {
    const { ledger, store } = await start();
    store.hold();
    const opening = ledger.open(draft());
    expect(await settled(opening)).toBe(false);
    store.release();
    const intent = await opening;
    expect(intent.intentSeq).toBe(1);
    expect(ledgerStore(store).intents()).toHaveLength(1);
  });

  test("the stored intent is what was drafted", async () => {
    const { ledger } = await start();
    const intent = await ledger.open(draft());
    const [row] = ledger.openIntents().map((body) => IntentBody.decode(body));
    expect(row).toMatchObject({
      version: 1,
      receiptId: intent.receiptId,
      intentSeq: 1,
      scope: "payments",
      leaseRef: draft().leaseRef,
      manifestHash: draft().manifestHash,
      goal: draft().goal,
      claim: ClaimBody.encode(draft().claim),
    });
  });

  test("all intents of one turn share one write; those of its flight share the next", async () => {
    const { ledger, store } = await start();
    const before = store.commits.length;
    store.hold();
    const first = Array.from({ length: 50 }, () => ledger.open(draft()));
    await turn();
    const second = Array.from({ length: 30 }, () => ledger.open(draft()));
    await turn();
    expect(store.commits.length - before).toBe(1);
    store.release();
    const intents = await Promise.all([...first, ...second]);
    expect(store.commits.length - before).toBe(2);
    expect(intents.map((i) => i.intentSeq)).toEqual(intents.map((_, i) => i + 1));
    expect(new Set(intents.map((i) => i.receiptId)).size).toBe(80);
  });

  test("receipt ids increase with intent_seq", async () => {
    const { ledger } = await start();
    const intents = await Promise.all(Array.from({ length: 20 }, () => ledger.open(draft())));
    const ids = intents.map((i) => i.receiptId);
    expect(ids.toSorted()).toEqual(ids);
  });

  test("a draft that cannot be encoded is refused, and leaves no trace", async () => {
    const { ledger, store } = await start();
    await expect(ledger.open(draft({ leaseRef: new Uint8Array(0) }))).rejects.toThrow(/lease/);
    await expect(ledger.open(draft({ manifestHash: new Uint8Array(5) }))).rejects.toThrow(
      /manifest/,
    );
    const intent = await ledger.open(draft());
    expect(intent.intentSeq).toBe(1);
    ledger.close(intent, closing());
    await ledger.flushed();
    expect(check(store)).toBeNull();
  });

  test("the intent chain is I_k of the documented bytes, in opening order", async () => {
    const { ledger } = await start();
    await Promise.all([1, 2, 3].map((n) => ledger.open(draft({ openedAtUs: n }))));
    const head = ledger.openIntents().reduce((head, bytes) => {
      const body = IntentBody.decode(bytes);
      const { receiptId, leaseRef, openedAtUs, intentSeq, claimSalt: salt, claim: data } = body;
      const link = { ledgerId: LEDGER_ID, intentSeq, receiptId, salt, data, field: 5 };
      const claimCommitment = commitment(native, link);
      return nextIntentsHead(native, head, { receiptId, leaseRef, openedAtUs, claimCommitment });
    }, LEDGER_ID);
    expect(toHex(ledger.head().intentsHead)).toBe(toHex(head));
    expect(ledger.head().intentsOpened).toBe(3);
  });
});

describe("every intent gets exactly one receipt", () => {
  test("signed, chained, in closing order, under its own id", async () => {
    const { ledger, store } = await start();
    const [a, b] = await Promise.all([ledger.open(draft()), ledger.open(draft())]);
    expect(ledger.close(b, closing())).toBe(b.receiptId);
    expect(ledger.close(a, closing({ verdict: "FAILED", reason: "UPSTREAM_FAILED" }))).toBe(
      a.receiptId,
    );
    await ledger.flushed();
    expect(headersIn(ledger)).toMatchObject([
      { seq: 1, kind: "LIFECYCLE", intentSeq: 0, count: 1 },
      { seq: 2, kind: "ACTION", verdict: "COMPLETED", receiptId: b.receiptId, intentSeq: 2 },
      { seq: 3, kind: "ACTION", verdict: "FAILED", receiptId: a.receiptId, intentSeq: 1 },
    ]);
    expect(check(store)).toBeNull();
    expect(ledger.openIntents()).toEqual([]);
  });

  test("a denial after the intent closes it, as a DENIAL", async () => {
    const { ledger } = await start();
    const intent = await ledger.open(draft());
    ledger.close(intent, closing({ verdict: "DENIED", reason: "LEASE_EXPIRED", egressLastUs: 0 }));
    await ledger.flushed();
    expect(headersIn(ledger)[1]).toMatchObject({
      kind: "DENIAL",
      verdict: "DENIED",
      reason: "LEASE_EXPIRED",
      intentSeq: 1,
      count: 1,
    });
  });

  test("a second close is a bug, and says so", async () => {
    const { ledger, store } = await start();
    const intent = await ledger.open(draft());
    ledger.close(intent, closing());
    expect(() => ledger.close(intent, closing())).toThrow(/closed once/);
    const other = await start();
    const foreign = await other.ledger.open(draft());
    expect(() => ledger.close(foreign, closing())).toThrow(/its ledger/);
    await ledger.flushed();
    expect(headersIn(ledger)).toHaveLength(2);
    expect(check(store)).toBeNull();
  });

  test("the header carries what the draft and the closing said", async () => {
    const { ledger } = await start();
    const intent = await ledger.open(draft());
    ledger.close(intent, closing({ verdict: "CUT", reason: "LEASE_REVOKED" }));
    await ledger.flushed();
    expect(headersIn(ledger)[1]).toMatchObject({
      version: 1,
      tenantId: "acme",
      ledgerId: LEDGER_ID,
      leaseRef: draft().leaseRef,
      manifestHash: draft().manifestHash,
      scope: "payments",
      verdict: "CUT",
      reason: "LEASE_REVOKED",
      openedAtUs: draft().openedAtUs,
      closedAtUs: closing().closedAtUs,
      egressLastUs: closing().egressLastUs,
      intentsOpened: 1,
      redactedMask: 0,
      spentBytes: 10,
    });
  });
});

test("a clock that falls meanwhile does not make a receipt end before it begins", async () => {
  const { ledger, clock } = await start();
  const [a, b] = await Promise.all([ledger.open(draft()), ledger.open(draft())]);
  clock.setWall(NOW_US - 60_000_000);
  ledger.close(a, closing({ closedAtUs: clock.nowUs(), egressLastUs: clock.nowUs() }));
  ledger.close(b, closing({ closedAtUs: clock.nowUs(), egressLastUs: 0 }));
  ledger.record(denial());
  await ledger.flushed();
  expect(headersIn(ledger).slice(1)).toMatchObject([
    { openedAtUs: NOW_US, closedAtUs: NOW_US, egressLastUs: NOW_US },
    { openedAtUs: NOW_US, closedAtUs: NOW_US, egressLastUs: 0 },
    { openedAtUs: NOW_US, closedAtUs: NOW_US },
  ]);
});

describe("five commitments, always", () => {
  test("each over its own salt; what is absent is salted empty data", async () => {
    const { ledger } = await start();
    const intent = await ledger.open(draft());
    ledger.close(intent, closing({ evidence: new Uint8Array(0) }));
    await ledger.flushed();
    const rows = ledger.read(1, 10).map((r) => PayloadRow.decode(r.row));
    const salts = rows.flatMap((r) => r.openings.map((o) => toHex(o.salt)));
    expect(rows.map((r) => r.commitments.length)).toEqual([5, 5]);
    expect(salts).toHaveLength(10);
    expect(new Set(salts).size).toBe(10);
    expect(rows[1]?.openings[2]).toMatchObject({ field: 3, data: new Uint8Array(0) });
    // Two absent fields do not commit alike.
    const boot = rows[0]?.commitments.map(toHex) ?? [];
    expect(new Set(boot).size).toBe(5);
  });

  test("the claim and the goal were fixed when the intent opened", async () => {
    const { ledger } = await start();
    const intent = await ledger.open(draft({ claim: claimOf("/a.B/C") }));
    const [body] = ledger.openIntents().map((bytes) => IntentBody.decode(bytes));
    ledger.close(intent, closing());
    await ledger.flushed();
    const { openings } = PayloadRow.decode(ledger.read(2, 1)[0]?.row as Uint8Array);
    expect(openings[0]).toEqual({ field: 1, salt: body?.goalSalt, data: body?.goal });
    expect(openings[4]).toEqual({ field: 5, salt: body?.claimSalt, data: body?.claim });
  });

  test("two calls that are alike in everything share no commitment", async () => {
    const { ledger } = await start();
    for (const intent of await Promise.all([ledger.open(draft()), ledger.open(draft())])) {
      ledger.close(intent, closing());
    }
    await ledger.flushed();
    const [a, b] = ledger.read(2, 2).map((r) => PayloadRow.decode(r.row).commitments);
    for (const commitment of a ?? []) {
      expect(b?.some((other) => equal(other, commitment))).toBe(false);
    }
  });
});

describe("heads speak only of what is durable and signed", () => {
  test("a closed action shows once it is written, not before", async () => {
    const { ledger, store } = await start();
    const intent = await ledger.open(draft());
    const before = ledger.head();
    store.hold();
    ledger.close(intent, closing());
    const flushed = ledger.flushed();
    expect(await settled(flushed)).toBe(false);
    expect(ledger.head()).toEqual(before);
    expect(ledger.read(2, 10)).toEqual([]);
    expect(ledger.stats().scopes).toEqual([]);
    store.release();
    await flushed;
    expect(ledger.head().size).toBe(2);
    expect(ledger.read(2, 10)).toHaveLength(1);
    expect(ledger.stats().scopes).toEqual([
      { scope: "payments", completed: 1, failed: 0, denied: 0 },
    ]);
  });

  test("the root is that of the leaves that can be read", async () => {
    const { ledger } = await start();
    for (let n = 0; n < 7; n++) {
      ledger.close(await ledger.open(draft()), closing());
      await ledger.flushed();
      const leaves = ledger
        .read(1, 100)
        .map(({ signed }) => leafHash(native, SignedBytes.decode(signed).body));
      expect(leaves).toHaveLength(n + 2);
      expect(toHex(ledger.head().root)).toBe(toHex(rootOf(native, leaves)));
    }
  });

  test("an intent not yet written is not among the opened", async () => {
    const { ledger, store } = await start();
    store.hold();
    const opening = ledger.open(draft());
    await turn();
    expect(ledger.head().intentsOpened).toBe(0);
    expect(ledger.openIntents()).toEqual([]);
    expect(ledger.stats().openIntents).toBe(1);
    store.release();
    await opening;
    expect(ledger.head().intentsOpened).toBe(1);
  });

  test("an open intent grows no older while the machine sleeps", async () => {
    const { ledger, clock } = await start();
    const ageUs = () => clock.monotonicUs() - (ledger.stats().oldestOpenedUs ?? Number.NaN);
    expect(ledger.stats().oldestOpenedUs).toBe(null);
    const intent = await ledger.open(draft());
    expect(ageUs()).toBe(0);
    clock.suspend(3_600_000_000);
    expect(ageUs()).toBe(0);
    clock.stop(60_000_000);
    expect(ageUs()).toBe(60_000_000);
    ledger.close(intent, closing());
    expect(ledger.stats().oldestOpenedUs).toBe(null);
  });

  test("what merely listens is open, and has no age", async () => {
    const { ledger, clock } = await start();
    await ledger.open({ ...draft(), listens: true });
    clock.stop(60_000_000);
    expect(ledger.stats()).toMatchObject({ openIntents: 1, oldestOpenedUs: null });
    const oldestOpenedUs = clock.monotonicUs();
    await ledger.open(draft());
    clock.stop(1_000_000);
    expect(ledger.stats()).toMatchObject({ openIntents: 2, oldestOpenedUs });
  });

  test("head, receipts and open intents are of one moment, whatever the store shows already", async () => {
    const { ledger, store, clock } = await start();
    const intent = await ledger.open(draft());
    const said = () => [ledger.head(), ledger.read(1, 9), ledger.openIntents()];
    const before = said();
    const commit = store.inner.commit.bind(store.inner);
    const seen: unknown[][] = [];
    store.inner.commit = async (writes) => {
      await commit(writes);
      // Written and readable; the ledger has not been told.
      seen.push(said());
    };
    ledger.close(intent, closing());
    clock.advance(25_000);
    await ledger.flushed();
    expect(seen[0]).toEqual(before);
    expect(ledger.openIntents()).toEqual([]);
    expect(ledger.read(1, 9)).toHaveLength(2);
  });

  test("without anybody waiting, a receipt is written within the linger time", async () => {
    const { ledger, clock } = await start();
    ledger.close(await ledger.open(draft()), closing());
    clock.advance(5_000);
    await turn();
    expect(ledger.head().size).toBe(1);
    clock.advance(20_000);
    await turn();
    await turn();
    expect(ledger.head().size).toBe(2);
  });

  test("a receipt rides along with the next intent", async () => {
    const { ledger, clock, store } = await start();
    ledger.close(await ledger.open(draft()), closing());
    clock.advance(5_000);
    await turn();
    const before = store.commits.length;
    await ledger.open(draft());
    expect(ledger.head().size).toBe(2);
    expect(store.commits.length - before).toBe(1);
  });

  test("reads are bounded, and end where the ledger ends", async () => {
    const { ledger } = await start();
    for (let n = 0; n < 4; n++) ledger.close(await ledger.open(draft()), closing());
    await ledger.flushed();
    expect(ledger.read(2, 2).map((r) => r.seq)).toEqual([2, 3]);
    expect(ledger.read(5, 100).map((r) => r.seq)).toEqual([5]);
    expect(ledger.read(6, 100)).toEqual([]);
    expect(ledger.read(1, 0)).toEqual([]);
  });

  test("headers are what is read, without the payloads", async () => {
    const { ledger } = await start();
    for (let n = 0; n < 4; n++) ledger.close(await ledger.open(draft()), closing());
    await ledger.flushed();
    const signedOnly = ledger.read(2, 3).map(({ seq, signed }) => ({ seq, signed }));
    expect(ledger.headers(2, 3)).toEqual(signedOnly);
    expect(ledger.headers(6, 3)).toEqual([]);
  });
});

describe("a ledger checks itself while it works", () => {
  test("it speaks of what was durable when it was asked", async () => {
    const { ledger, store } = await start();
    for (let n = 0; n < 200; n++) ledger.record(denial({ claim: u64be(n) }));
    await ledger.open(draft());
    await ledger.flushed();
    const checking = ledger.check();
    for (let n = 0; n < 5; n++) {
      ledger.close(await ledger.open(draft()), closing());
      await ledger.flushed();
    }
    expect(await checking).toBeNull();
    expect(await ledger.check()).toBeNull();
    const key = concat(Uint8Array.of(4), u64be(150));
    await store.inner.commit([{ key, value: store.get(concat(Uint8Array.of(4), u64be(151))) }]);
    expect(await ledger.check()).toMatchObject({ seq: 150 });
  });
});

describe("a ledger writes about itself", () => {
  test("receipt 1 is the boot, and a clean end is the last", async () => {
    const { ledger, store } = await start();
    await ledger.shutdown();
    const rows = ledgerStore(store).receipts(1, 10);
    const verbs = rows.map(({ row }) => {
      const [, action] = PayloadRow.decode(row).openings;
      return ActionBody.decode(action?.data as Uint8Array).verb;
    });
    expect(verbs).toEqual(["boot", "shutdown"]);
    expect(check(store)).toBeNull();
  });

  test("after its end nothing is taken", async () => {
    const { ledger } = await start();
    await ledger.shutdown();
    await expect(ledger.open(draft())).rejects.toThrow(/shut down/);
    await expect(ledger.flushed()).rejects.toThrow(/shut down/);
  });
});
