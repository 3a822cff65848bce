import { describe, expect, test } from "vitest";
import type { BatchSigner } from "../../sidecar/ledger/signer.ts";
import { LedgerUnavailable } from "../../sidecar/ledger/work-ledger.ts";
import * as limits from "../../src/domain/limits.ts";
import { OutcomeBody, PayloadRow } from "../../src/domain/payload.ts";
import { StorageFailed } from "../../src/storage/store.ts";
import {
  check,
  closing,
  countedRefusals,
  denial,
  draft,
  headersIn,
  inlineSigner,
  start,
  turn,
} from "./fixture.ts";

const unavailable = { name: "LedgerUnavailable", reason: "LEDGER_UNAVAILABLE" };

/** A signer that answers when it is told to. */
function heldSigner() {
  const inner = inlineSigner();
  let gate: PromiseWithResolvers<void> | null = null;
  let fault: Error | null = null;
  const signer: BatchSigner = {
    ...inner,
    async sign(messages) {
      await gate?.promise;
      if (fault !== null) throw fault;
      return inner.sign(messages);
    },
  };
  return {
    signer,
    hold() {
      gate = Promise.withResolvers<void>();
    },
    release() {
      gate?.resolve();
      gate = null;
    },
    break(error: Error) {
      fault = error;
      gate?.resolve();
    },
  };
}

describe("a slow disk refuses, and heals", () => {
  test("who waits is refused at the deadline; who comes later, at once", async () => {
    const { ledger, store, clock, refusals } = await start();
    store.hold();
    const inFlight = ledger.open(draft());
    await turn();
    clock.advance(limits.ledgerDeadlineUs / 2);
    const queued = ledger.open(draft());
    clock.advance(limits.ledgerDeadlineUs / 2);
    await expect(inFlight).rejects.toMatchObject(unavailable);
    await expect(queued).rejects.toMatchObject(unavailable);
    await expect(ledger.open(draft())).rejects.toMatchObject(unavailable);
    expect(() => ledger.record(denial())).toThrow(LedgerUnavailable);
    expect(ledger.stats().health).toBe("SLOW");
    expect(refusals.count).toBe(4);
  });

  test("just before the deadline nobody is refused", async () => {
    const { ledger, store, clock } = await start();
    store.hold();
    const opening = ledger.open(draft());
    await turn();
    clock.advance(limits.ledgerDeadlineUs - 1);
    expect(ledger.stats().health).toBe("OK");
    store.release();
    expect((await opening).intentSeq).toBe(1);
  });

  test("a process that was stopped meanwhile refuses nobody for it", async () => {
    const { ledger, store, clock } = await start();
    store.hold();
    const opening = ledger.open(draft());
    await turn();
    clock.stop(10 * limits.ledgerDeadlineUs);
    clock.advance(0);
    store.release();
    expect((await opening).intentSeq).toBe(1);
    expect(ledger.stats().health).toBe("OK");
  });

  test("an intent that was refused and became durable after all is closed as refused", async () => {
    const { ledger, store, clock } = await start();
    store.hold();
    const opening = ledger.open(draft());
    await turn();
    clock.advance(limits.ledgerDeadlineUs);
    await expect(opening).rejects.toMatchObject(unavailable);
    store.release();
    await turn();
    await turn();
    expect(ledger.stats().health).toBe("OK");
    const after = await ledger.open(draft());
    ledger.close(after, closing());
    await ledger.flushed();
    expect(headersIn(ledger).slice(1)).toMatchObject([
      { kind: "DENIAL", reason: "LEDGER_UNAVAILABLE", intentSeq: 1, egressLastUs: 0 },
      { kind: "ACTION", verdict: "COMPLETED", intentSeq: 2 },
    ]);
    expect(ledger.openIntents()).toEqual([]);
    expect(check(store)).toBeNull();
  });

  test("flushed does not wait for ever either", async () => {
    const { ledger, store, clock } = await start();
    const intent = await ledger.open(draft());
    store.hold();
    ledger.close(intent, closing());
    const flushed = ledger.flushed();
    await turn();
    clock.advance(limits.ledgerDeadlineUs);
    await expect(flushed).rejects.toMatchObject(unavailable);
    store.release();
    await ledger.flushed();
    expect(ledger.head().size).toBe(2);
  });

  test("a disk that is slow once and quick again is not late the next time", async () => {
    const { ledger, store, clock } = await start();
    for (let n = 0; n < 3; n++) {
      store.hold();
      const opening = ledger.open(draft());
      await turn();
      clock.advance(limits.ledgerDeadlineUs - 1);
      store.release();
      await opening;
      clock.advance(limits.ledgerDeadlineUs);
      expect(ledger.stats().health).toBe("OK");
    }
  });
});

describe("a write that fails ends the ledger", () => {
  const eio = new StorageFailed("a write failed: EIO");

  test("it says whether there was no more room, or something else", async () => {
    const said = ["ENOSPC: no space left", "EFBIG: file too large", "the disk is full", "EIO"];
    const healths = said.map(async (why) => {
      const { ledger, store } = await start();
      store.failWith = new StorageFailed(`a write failed: ${why}`);
      await expect(ledger.open(draft())).rejects.toMatchObject(unavailable);
      return ledger.stats().health;
    });
    expect(await Promise.all(healths)).toEqual(["FULL", "FULL", "FULL", "FAILED"]);
  });

  test("everything is refused at once, and the process is told to go", async () => {
    const { ledger, store, refusals } = await start();
    const before = ledger.head();
    store.failWith = eio;
    const openings = await Promise.allSettled([ledger.open(draft()), ledger.open(draft())]);
    for (const opening of openings) {
      expect(opening).toMatchObject({ status: "rejected", reason: unavailable });
    }
    expect((await ledger.failed).message).toMatch(/EIO/);
    // Even if the disk would take it again: what came before the failure is not known.
    store.failWith = null;
    await expect(ledger.open(draft())).rejects.toMatchObject(unavailable);
    await expect(ledger.flushed()).rejects.toMatchObject(unavailable);
    expect(() => ledger.record(denial())).toThrow(/EIO/);
    expect(ledger.stats().health).toBe("FAILED");
    expect(ledger.head()).toEqual(before);
    expect(refusals.count).toBe(4);
  });

  test("an action in flight can still be told of; nothing of it is stored", async () => {
    const { ledger, store } = await start();
    const intent = await ledger.open(draft());
    store.failWith = eio;
    await expect(ledger.open(draft())).rejects.toMatchObject(unavailable);
    expect(ledger.close(intent, closing())).toBe(intent.receiptId);
    await turn();
    expect(ledger.head().size).toBe(1);
    expect(store.commits).toHaveLength(3);
  });

  test("the next start counts what was refused, once", async () => {
    const refusals = countedRefusals();
    const first = await start({ refusals });
    first.store.failWith = eio;
    await expect(first.ledger.open(draft())).rejects.toMatchObject(unavailable);
    await expect(first.ledger.open(draft())).rejects.toMatchObject(unavailable);
    first.store.failWith = null;
    const second = await start({ refusals, store: first.store });
    const outcome = () => {
      const row = second.ledger.read(second.ledger.head().size, 1)[0]?.row as Uint8Array;
      return OutcomeBody.decode(PayloadRow.decode(row).openings[3]?.data as Uint8Array).status;
    };
    expect(outcome()).toBe("intents left open: 0; refused: 2");
    expect(refusals.count).toBe(0);
  });

  test("a start that cannot write fails instead of waiting", async () => {
    const { store } = await start();
    store.failWith = eio;
    await expect(start({ store })).rejects.toMatchObject(unavailable);
  });
});

describe("a signer that fails", () => {
  test("late: new work is refused until it answers", async () => {
    const held = heldSigner();
    const { ledger, store, clock } = await start({ signer: held.signer });
    const [a, b] = await Promise.all([ledger.open(draft()), ledger.open(draft())]);
    held.hold();
    ledger.close(a, closing());
    clock.advance(limits.signingLingerUs);
    clock.advance(limits.ledgerDeadlineUs + 1);
    await expect(ledger.open(draft())).rejects.toMatchObject(unavailable);
    expect(ledger.stats().health).toBe("SLOW");
    ledger.close(b, closing());
    held.release();
    await ledger.flushed();
    await ledger.open(draft());
    expect(ledger.head().size).toBe(3);
    expect(check(store)).toBeNull();
  });

  test("a process that was stopped while it signed refuses with a receipt, as ever", async () => {
    const held = heldSigner();
    const { ledger, clock, refusals } = await start({ signer: held.signer });
    const intent = await ledger.open(draft());
    held.hold();
    ledger.close(intent, closing());
    clock.advance(limits.signingLingerUs);
    clock.stop(10 * limits.ledgerDeadlineUs);
    // Before any timer: what waited in the kernel is read first.
    ledger.record(denial());
    clock.advance(0);
    ledger.record(denial());
    held.release();
    await ledger.flushed();
    expect(refusals.count).toBe(0);
    expect(headersIn(ledger).slice(1)).toMatchObject([
      { kind: "ACTION" },
      { kind: "DENIAL" },
      { kind: "DENIAL" },
    ]);
  });

  test("late: flushed does not wait for ever", async () => {
    const held = heldSigner();
    const { ledger, clock } = await start({ signer: held.signer });
    const intent = await ledger.open(draft());
    held.hold();
    ledger.close(intent, closing());
    const flushed = ledger.flushed();
    await turn();
    clock.advance(limits.ledgerDeadlineUs + 1);
    await expect(flushed).rejects.toMatchObject(unavailable);
  });

  test("gone: the ledger ends, and the intent stays open for recovery", async () => {
    const held = heldSigner();
    const { ledger, store } = await start({ signer: held.signer });
    const intent = await ledger.open(draft());
    held.hold();
    ledger.close(intent, closing());
    const flushed = ledger.flushed();
    held.break(new Error("killed"));
    await expect(flushed).rejects.toMatchObject(unavailable);
    expect((await ledger.failed).message).toMatch(/killed/);
    const { ledger: next } = await start({ store });
    expect(headersIn(next)[1]).toMatchObject({ verdict: "INDETERMINATE", intentSeq: 1 });
  });
});

describe("bounds", () => {
  test("as many intents as may be open, and not one more", async () => {
    const { ledger } = await start();
    const opened = await Promise.all(
      Array.from({ length: limits.openIntentsMax }, () => ledger.open(draft())),
    );
    await expect(ledger.open(draft())).rejects.toMatchObject({ reason: "OVERLOADED" });
    // It refuses, and nothing is wrong with it.
    expect(ledger.stats().health).toBe("SLOW");
    const [first] = opened;
    ledger.close(first as (typeof opened)[0], closing());
    await expect(ledger.open(draft())).resolves.toMatchObject({
      intentSeq: limits.openIntentsMax + 1,
    });
  });

  test("receipts that wait for their signature hold new work back", async () => {
    const held = heldSigner();
    const { ledger } = await start({ signer: held.signer });
    held.hold();
    for (let n = 0; n < limits.unsignedReceiptsMax; n++) {
      ledger.record({ ...denial(), claim: new Uint8Array([n >> 8, n & 255]) });
    }
    expect(() => ledger.record(denial())).toThrow(
      expect.objectContaining({ reason: "OVERLOADED" }),
    );
    await expect(ledger.open(draft())).rejects.toMatchObject({ reason: "OVERLOADED" });
    held.release();
    await ledger.flushed();
    await ledger.open(draft());
  });
});
