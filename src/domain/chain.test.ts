import { describe, expect, test } from "vitest";
import { concat, fromHex, toHex, u64be, utf8 } from "./bytes.ts";
import {
  Chain,
  commitment,
  leafHash,
  newChainState,
  nextIntentsHead,
  payloadHash,
  type ReceiptDraft,
} from "./chain.ts";
import { rootOf } from "./merkle.ts";
import { noble } from "./noble.ts";
import { ReceiptHeader } from "./receipt.ts";
import { pae } from "./signed.ts";

const fill = (byte: number) => new Uint8Array(32).fill(byte);
const LEDGER = fill(0xaa);
const RECEIPT_ID = "rcp_0189dcd553117d408db09496a2eef37b";
const link = {
  receiptId: RECEIPT_ID,
  leaseRef: fill(4),
  openedAtUs: 1_790_000_000_000_000,
  claimCommitment: fill(5),
};
const draft: ReceiptDraft = {
  receiptId: RECEIPT_ID,
  manifestHash: fill(1),
  leaseRef: fill(4),
  kind: "ACTION",
  verdict: "COMPLETED",
  reason: "UNSPECIFIED",
  scope: "read:payments",
  openedAtUs: 1_790_000_000_000_000,
  closedAtUs: 1_790_000_000_005_000,
  egressLastUs: 1_790_000_000_002_000,
  intentSeq: 1,
  count: 1,
  payloadHash: fill(6),
  refersTo: new Uint8Array(0),
  redactedMask: 0,
  wouldDeny: "UNSPECIFIED",
  spentBytes: 0,
};
const fresh = () => new Chain(noble, newChainState(LEDGER, "acme"));

describe("the hashes of the format, spelled out", () => {
  test("H is the leaf hash of PAE", () => {
    const body = utf8("a body");
    const bytes = concat(Uint8Array.of(0), pae("receipt", body));
    expect(leafHash(noble, body)).toEqual(noble.sha256(bytes));
  });

  test("PAE is DSSE's, lengths in ASCII", () => {
    expect(new TextDecoder().decode(pae("receipt", utf8("a body")))).toBe(
      "DSSEv1 40 application/vnd.dragons.receipt.v1+proto 6 a body",
    );
    expect(new TextDecoder().decode(pae("lease", new Uint8Array(0)))).toBe(
      "DSSEv1 38 application/vnd.dragons.lease.v1+proto 0 ",
    );
  });

  test("c_f", () => {
    const of = {
      field: 2,
      ledgerId: LEDGER,
      intentSeq: 258,
      receiptId: RECEIPT_ID,
      salt: fill(9),
      data: utf8("data"),
    };
    const bytes = concat(
      utf8("dragons/v1/field\n"),
      fromHex("02"),
      LEDGER,
      fromHex("0000000000000102"),
      utf8(RECEIPT_ID),
      fill(9),
      utf8("data"),
    );
    expect(commitment(noble, of)).toEqual(noble.sha256(bytes));
    for (const wrong of [{ field: 0 }, { field: 6 }, { salt: fill(9).slice(1) }]) {
      expect(() => commitment(noble, { ...of, ...wrong })).toThrow(RangeError);
    }
  });

  test("payload_hash", () => {
    const five = [fill(1), fill(2), fill(3), fill(4), fill(5)];
    expect(payloadHash(noble, five)).toEqual(
      noble.sha256(concat(utf8("dragons/v1/payload\n"), ...five)),
    );
    expect(() => payloadHash(noble, five.slice(1))).toThrow(RangeError);
  });

  test("I_k", () => {
    const bytes = concat(
      Uint8Array.of(2),
      LEDGER,
      utf8(RECEIPT_ID),
      fill(4),
      u64be(1_790_000_000_000_000),
      fill(5),
    );
    expect(nextIntentsHead(noble, LEDGER, link)).toEqual(noble.sha256(bytes));
  });
});

describe("the chain", () => {
  test("begins at the ledger's id", () => {
    const chain = fresh();
    expect(chain.head()).toEqual({
      size: 0,
      root: noble.sha256(),
      intentsOpened: 0,
      intentsHead: LEDGER,
    });
    expect(chain.append(draft).header).toMatchObject({ seq: 1, prevHash: LEDGER });
  });

  test("links each receipt to the one before, and its tree holds the same hashes", () => {
    const chain = fresh();
    const appended = [1, 2, 3, 4, 5].map((intentSeq) => chain.append({ ...draft, intentSeq }));
    appended.forEach(({ header, body, hash }, i) => {
      expect(ReceiptHeader.decode(body)).toEqual(header);
      expect(hash).toEqual(leafHash(noble, body));
      expect(header.seq).toBe(i + 1);
      expect(header.prevHash).toEqual(i === 0 ? LEDGER : appended[i - 1]?.hash);
      expect(header).toMatchObject({ version: 1, tenantId: "acme", ledgerId: LEDGER });
      expect(header).toMatchObject({ ...draft, intentSeq: i + 1 });
    });
    expect(chain.head().root).toEqual(
      rootOf(
        noble,
        appended.map((a) => a.hash),
      ),
    );
  });

  test("counts intents in opening order, and every receipt tells how many there were", () => {
    const chain = fresh();
    expect(chain.nextIntentSeq).toBe(1);
    expect(chain.openIntent(link)).toBe(1);
    const one = nextIntentsHead(noble, LEDGER, link);
    const first = chain.append(draft).header;
    expect([first.intentsOpened, toHex(first.intentsHead)]).toEqual([1, toHex(one)]);
    expect(chain.openIntent(link)).toBe(2);
    expect(chain.nextIntentSeq).toBe(3);
    expect(chain.head()).toMatchObject({
      intentsOpened: 2,
      intentsHead: nextIntentsHead(noble, one, link),
    });
  });

  test("continues from its state as if it had never stopped", () => {
    const chain = fresh();
    for (let i = 0; i < 11; i++) {
      chain.openIntent(link);
      chain.append(draft);
      const restored = new Chain(noble, chain.state());
      expect(restored.head()).toEqual(chain.head());
      expect(restored.append(draft)).toEqual(new Chain(noble, chain.state()).append(draft));
    }
    const restored = new Chain(noble, chain.state());
    expect(restored.append(draft)).toEqual(chain.append(draft));
    expect(restored.head()).toEqual(chain.head());
  });

  test("a draft that cannot be encoded leaves the chain as it was", () => {
    const chain = fresh();
    chain.append(draft);
    const before = chain.state();
    expect(() => chain.append({ ...draft, openedAtUs: -1 })).toThrow("receipt.openedAtUs");
    expect(chain.state()).toEqual(before);
  });
});
