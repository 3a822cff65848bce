import { describe, expect, test } from "vitest";
import { IntentBody } from "../../src/domain/intent.ts";
import { ledgerStore } from "../../src/storage/ledger-store.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { check, closing, draft, GatedStore, GRANT, headersIn, start, turn } from "./fixture.ts";

const ALL = { from: Uint8Array.of(0), below: Uint8Array.of(255), limit: Number.MAX_SAFE_INTEGER };

async function copyOf(store: GatedStore): Promise<GatedStore> {
  const copy = memoryStore();
  await copy.commit(store.range(ALL));
  return new GatedStore(copy);
}

const reservedIn = (store: GatedStore): number[] =>
  ledgerStore(store)
    .intents()
    .map(({ body }) => IntentBody.decode(body).reservedBytes);

describe("bytes of an open action", () => {
  test("are reserved with its intent, and further blocks are durable before they resolve", async () => {
    const { ledger, store } = await start();
    const intent = await ledger.open(draft({ reservedBytes: 100 }));
    expect(reservedIn(store)).toEqual([100]);
    store.hold();
    let told = false;
    const more = ledger.reserve(intent, 50).then(() => {
      told = true;
    });
    // It counts at once: calls side by side must not reserve the same remainder.
    expect(ledger.spent(GRANT, "payments").bytes).toBe(150);
    await turn();
    await turn();
    expect(told).toBe(false);
    store.release();
    await more;
    expect(reservedIn(store)).toEqual([150]);
    expect(ledgerStore(store).spent()).toMatchObject([{ actions: 1, bytes: 150 }]);
  });

  test("that did not pass are given back when it ends, and its receipt says what was charged", async () => {
    const { ledger, store } = await start();
    const intent = await ledger.open(draft({ reservedBytes: 100 }));
    await ledger.reserve(intent, 50);
    ledger.close(intent, closing({ spentBytes: 30 }));
    expect(ledger.spent(GRANT, "payments").bytes).toBe(30);
    await ledger.flushed();
    expect(headersIn(ledger).at(-1)).toMatchObject({ spentBytes: 30 });
    expect(ledgerStore(store).spent()).toMatchObject([{ actions: 1, bytes: 30 }]);
  });

  test("that a crash left reserved are spent: the INDETERMINATE receipt says them", async () => {
    const { ledger, store } = await start();
    const intent = await ledger.open(draft({ reservedBytes: 100 }));
    await ledger.reserve(intent, 50);
    const { ledger: next, store: after } = await start({ store: await copyOf(store) });
    expect(headersIn(next)[1]).toMatchObject({ verdict: "INDETERMINATE", spentBytes: 150 });
    expect(next.spent(GRANT, "payments").bytes).toBe(150);
    expect(check(after)).toBeNull();
    const { ledger: third } = await start({ store: await copyOf(after) });
    expect(third.spent(GRANT, "payments")).toMatchObject({ actions: 1, bytes: 150 });
  });

  test("that were given back stay charged until the receipt that says so is stored", async () => {
    const { ledger, store } = await start();
    const first = await ledger.open(draft({ reservedBytes: 100 }));
    ledger.close(first, closing({ spentBytes: 0 }));
    // Stored with the next intent, while the receipt of the first still waits for its signature.
    const second = await ledger.open(draft({ reservedBytes: 100 }));
    const { ledger: next, store: crashed } = await start({ store: await copyOf(store) });
    const charged = headersIn(next).reduce((sum, h) => sum + h.spentBytes, 0);
    expect(next.spent(GRANT, "payments").bytes).toBe(charged);
    expect(check(crashed)).toBeNull();
    ledger.close(second, closing({ spentBytes: 7 }));
    await ledger.flushed();
    expect(ledgerStore(store).spent()).toMatchObject([{ actions: 2, bytes: 7 }]);
  });

  test("asked for while it ends leave no intent behind", async () => {
    const { ledger, store } = await start();
    const intent = await ledger.open(draft({ reservedBytes: 100 }));
    const more = ledger.reserve(intent, 50);
    ledger.close(intent, closing({ spentBytes: 30 }));
    await Promise.all([more, ledger.flushed()]);
    expect(reservedIn(store)).toEqual([]);
    expect(check(store)).toBeNull();
    await expect(ledger.reserve(intent, 1)).rejects.toThrow("while an intent is open");
  });

  test("of an intent that became durable too late are given back", async () => {
    const { ledger, store, clock } = await start();
    store.hold();
    const opening = ledger.open(draft({ reservedBytes: 100 }));
    await turn();
    clock.advance(1_000_000);
    await expect(opening).rejects.toThrow("the disk is late");
    store.release();
    await turn();
    await ledger.flushed();
    // The intent is in the chain, so the action counts; nothing of it passed.
    expect(ledger.spent(GRANT, "payments")).toMatchObject({ actions: 1, bytes: 0 });
  });

  test("are refused when the disk is late, to whoever waits", async () => {
    const { ledger, store, clock } = await start();
    const intent = await ledger.open(draft({ reservedBytes: 100 }));
    store.hold();
    const more = ledger.reserve(intent, 50);
    await turn();
    clock.advance(1_000_000);
    await expect(more).rejects.toThrow("the disk is late");
    store.release();
  });

  test("the openings of the last minute outlive the process", async () => {
    const { ledger, store } = await start();
    await ledger.open(draft({ recent: 1 }));
    await ledger.open(draft({ recent: 2 }));
    const { ledger: next } = await start({ store: await copyOf(store) });
    expect(next.spent(GRANT, "payments").recent).toBe(2);
  });
});
