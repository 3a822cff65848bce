import { create } from "@bufbuild/protobuf";
import { beforeEach, describe, expect, test } from "vitest";
import { leafHash } from "../../src/domain/chain.ts";
import { encodeSigned } from "../../src/domain/signing.ts";
import { SyncResponseSchema } from "../../src/gen/dragons/v1/ledger_pb.ts";
import { native } from "../../src/native/crypto.ts";
import { HeaderSync } from "./sync.ts";

/** A ledger of `size` receipts that remembers how far it was acknowledged. */
class SizedLedger {
  size: number;
  acknowledgedSeq = 0;
  constructor(size: number) {
    this.size = size;
  }
  head() {
    return { size: this.size };
  }
  headers(fromSeq: number, limit: number) {
    const count = Math.max(0, Math.min(limit, this.size - fromSeq + 1));
    const signed = encodeSigned({ body: Uint8Array.of(1), signatures: [] });
    return Array.from({ length: count }, (_, i) => ({ seq: fromSeq + i, signed }));
  }
  acknowledged(seq: number) {
    this.acknowledgedSeq = Math.max(this.acknowledgedSeq, seq);
  }
}

let ledger: SizedLedger;
let sync: HeaderSync;
beforeEach(() => {
  ledger = new SizedLedger(200);
  sync = new HeaderSync(ledger as never, 0, "headers");
});

const answer = (heldSize: number, credit: number): void =>
  sync.answered(create(SyncResponseSchema, { heldSize: BigInt(heldSize), credit }));

/** [from, count] of each batch sent since. */
async function sent(): Promise<[number, number][]> {
  const batches: [number, number][] = [];
  const requests = sync.requests[Symbol.asyncIterator]();
  while (sync.requests.length > 0) {
    const { value } = await requests.next();
    batches.push([Number(value.fromSeq), value.receipts.length]);
  }
  return batches;
}

describe("headers on their way to the centre", () => {
  test("go in batches of 64, no more of them under way than there is credit", async () => {
    sync.pump();
    expect(await sent()).toEqual([[1, 64]]);
    answer(64, 3);
    expect(await sent()).toEqual([
      [65, 64],
      [129, 64],
      [193, 8],
    ]);
    expect(ledger.acknowledgedSeq).toBe(64);
  });

  test("are not sent again while an answer is on its way", async () => {
    sync.pump();
    answer(64, 2);
    await sent();
    sync.pump();
    answer(128, 2);
    expect(await sent()).toEqual([[193, 8]]);
  });

  test("begin again where the centre is, when it saw a gap", async () => {
    sync.pump();
    await sent();
    answer(10, 1);
    expect(await sent()).toEqual([[11, 64]]);
  });

  test("stay where they are, and their hashes alone go, where the tenant wants it so", async () => {
    sync = new HeaderSync(ledger as never, 0, "hashes");
    sync.pump();
    const { value } = await sync.requests[Symbol.asyncIterator]().next();
    const hash = leafHash(native, Uint8Array.of(1));
    expect(value).toEqual({ fromSeq: 1n, hashes: Array(64).fill(hash) });
  });

  test("are caught up once the centre holds all that was durable", async () => {
    ledger.size = 5;
    let done = false;
    const caught = sync.caughtUp().then(() => {
      done = true;
    });
    answer(3, 1);
    await Promise.resolve();
    expect(done).toBe(false);
    answer(5, 1);
    await caught;
    await sync.caughtUp();
  });
});
