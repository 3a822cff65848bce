import { describe, expect, test } from "vitest";
import * as limits from "../../src/domain/limits.ts";
import { check, denial, headersIn, start } from "./fixture.ts";

const counted = (headers: ReturnType<typeof headersIn>) =>
  headers.filter((h) => h.kind === "DENIAL").map(({ receiptId, count }) => ({ receiptId, count }));

describe("identical denials are counted, all others told one by one", () => {
  test("the first at once, the rest of the window in one receipt", async () => {
    const { ledger, store, clock } = await start();
    const first = ledger.record(denial());
    const more = Array.from({ length: 5 }, () => ledger.record(denial()));
    expect(new Set(more).size).toBe(1);
    expect(more[0]).not.toBe(first);
    clock.advance(limits.denialWindowUs - 1);
    expect(ledger.record(denial())).toBe(more[0]);
    clock.advance(1);
    const next = ledger.record(denial());
    await ledger.flushed();
    expect(counted(headersIn(ledger))).toEqual([
      { receiptId: first, count: 1 },
      { receiptId: more[0], count: 6 },
      { receiptId: next, count: 1 },
    ]);
    expect(ledger.stats().scopes).toEqual([
      { scope: "payments", completed: 0, failed: 0, denied: 8 },
    ]);
    expect(check(store)).toBeNull();
  });

  test("a window in which nothing came again leaves nothing", async () => {
    const { ledger, clock } = await start();
    ledger.record(denial());
    clock.advance(limits.denialWindowUs);
    await ledger.flushed();
    expect(counted(headersIn(ledger))).toHaveLength(1);
  });

  test("flushed closes the windows: nothing told is held back", async () => {
    const { ledger } = await start();
    const ids = [ledger.record(denial()), ledger.record(denial())];
    await ledger.flushed();
    expect(counted(headersIn(ledger)).map((c) => c.receiptId)).toEqual(ids);
  });

  test("whatever differs in what it was decided from is told apart", async () => {
    const { ledger } = await start();
    const other = new Uint8Array(32).fill(1);
    const different = [
      denial(),
      denial({ claim: Uint8Array.of(8) }),
      denial({ reason: "LIMIT_SPENT" }),
      denial({ scope: "refunds" }),
      denial({ leaseRef: other }),
      denial({ leaseRef: new Uint8Array(0) }),
      denial({ manifestHash: other }),
    ];
    for (const one of different) ledger.record(one);
    await ledger.flushed();
    expect(counted(headersIn(ledger)).map((c) => c.count)).toEqual(different.map(() => 1));
  });

  test("where more differ than are counted at once, each is told", async () => {
    const { ledger } = await start();
    const claim = (n: number) => denial({ claim: Uint8Array.of(1, n >> 8, n & 255) });
    for (let n = 0; n < limits.denialsCountedMax; n++) ledger.record(claim(n));
    const beyond = claim(limits.denialsCountedMax);
    const ids = [ledger.record(beyond), ledger.record(beyond)];
    expect(new Set(ids).size).toBe(2);
    await ledger.flushed();
    expect(headersIn(ledger)).toHaveLength(limits.denialsCountedMax + 3);
  });
});
