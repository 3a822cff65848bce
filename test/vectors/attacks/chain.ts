import { concat } from "../../../src/domain/bytes.ts";
import { leafHash } from "../../../src/domain/chain.ts";
import type { ReceiptHeader } from "../../../src/domain/receipt.ts";
import { SignedBytes } from "../../../src/domain/signed.ts";
import { ReceiptFrame } from "../../../src/verifier/pack.ts";
import { crypto, keyOf, SECOND, START_US, type Story } from "../../verifier/build.ts";
import { nth, type Piece } from "../../verifier/frames.ts";
import {
  changed,
  drop,
  group,
  insert,
  only,
  receiptAt,
  reheader,
  rerow,
  reseal,
  story,
  told,
} from "./case.ts";

const { cases, add } = group("chain");
export const CHAIN = cases;

const later = (h: ReceiptHeader) => ({ closedAtUs: h.closedAtUs + 1 });

add(
  "altered",
  [1],
  "a header is altered, and keeps its old signature",
  "E_RECEIPT_SIG@3",
  changed((p) => reheader(receiptAt(p, 3), later)),
);
add(
  "altered-and-signed",
  [2],
  "a header is altered and signed anew by the key holder: its leaf shows it",
  "E_LEAF_MISMATCH@3",
  changed((p, s) => reheader(receiptAt(p, 3), later, s.ledgerKey)),
);
add(
  "altered-and-signed-without-leaves",
  [2],
  "a header is altered and signed anew by the key holder, and leaves are left out: the next one shows it",
  "E_CHAIN_PREV@4 suspect 3",
  changed((p, s) => {
    drop(p, "LEAVES");
    return reheader(receiptAt(p, 3), later, s.ledgerKey);
  }),
);
add(
  "altered-with-its-leaf",
  [2],
  "a header and its leaf are altered by the key holder: a head that the key signed before shows it",
  "E_HEARTBEAT_HEAD@5",
  changed(async (p, s) => {
    await reheader(receiptAt(p, 3), later, s.ledgerKey);
    const { signed } = ReceiptFrame.decode(receiptAt(p, 3).body);
    const leaf = leafHash(crypto, SignedBytes.decode(signed).body);
    const leaves = only(p, "LEAVES");
    leaves.body = concat(leaves.body.subarray(0, 64), leaf, leaves.body.subarray(96));
  }),
);
add(
  "leaves-cut-short",
  [2],
  "fewer leaves than receipts, and no head over them",
  "E_LEAF_MISMATCH@5",
  changed((p) => {
    drop(p, "CHECKPOINT");
    drop(p, "HEARTBEAT");
    const leaves = only(p, "LEAVES");
    leaves.body = leaves.body.subarray(0, 4 * 32);
  }),
);
add(
  "last-altered-and-signed",
  [2, 10],
  "the last header is altered and signed anew, and leaves are left out: a head that the key signed before shows it",
  "E_HEARTBEAT_HEAD@5",
  changed((p, s) => {
    drop(p, "LEAVES");
    return reheader(receiptAt(p, 5), later, s.ledgerKey);
  }),
);
add(
  "removed",
  [3],
  "a receipt is taken out",
  "E_SEQ_GAP@3",
  changed((p) => drop(p, "RECEIPT", 3)),
);
add(
  "first-removed",
  [3],
  "the first receipt is taken out",
  "E_SEQ_GAP@1",
  changed((p) => drop(p, "RECEIPT", 1)),
);
add(
  "removed-and-renumbered",
  [3],
  "a receipt is taken out, and the key holder renumbers the next",
  "E_CHAIN_PREV@3 suspect 2",
  changed(async (p, s) => {
    drop(p, "RECEIPT", 3);
    await reheader(receiptAt(p, 3), () => ({ seq: 3 }), s.ledgerKey);
  }),
);
add(
  "removed-and-rechained",
  [3, 10],
  "a denial is taken out, and the key holder chains and signs all that follows anew, without its leaves",
  "E_TAIL_TRUNCATED@4",
  story(
    async (s) => {
      await s.lifecycle();
      await s.lease();
      await s.act();
      await s.deny({ path: "/payments.v1.Payments/Refund" });
      await s.act();
      await s.checkpoint();
    },
    {
      change: (p, s) => {
        drop(p, "LEAVES");
        return rechain(p, s, 3);
      },
    },
  ),
);
add(
  "exchanged",
  [4],
  "two receipts change places",
  "E_SEQ_GAP@3",
  changed((p) => p.splice(nth(p, "RECEIPT", 3), 2, receiptAt(p, 4), receiptAt(p, 3))),
);
add(
  "twice",
  [5],
  "a receipt stands twice",
  "E_SEQ_DUP@4",
  changed((p) => insert(p, "RECEIPT", 3, receiptAt(p, 3))),
);
add(
  "inserted",
  [6],
  "another signs a receipt under the ledger key's name",
  "E_RECEIPT_SIG@3",
  changed((p, s) => {
    const posing = { ...keyOf("mallory"), publicKey: s.ledgerKey.publicKey };
    return reheader(receiptAt(p, 3), (h) => ({ scope: h.scope }), posing);
  }),
);
add(
  "inserted-with-another-payload",
  [7, 45],
  "commitments stand in another order than the header was made from",
  "E_PAYLOAD_HASH@2",
  changed((p) =>
    rerow(receiptAt(p, 2), ({ commitments: [a, b, c, d, e], openings }) => ({
      commitments: [d, b, c, a, e] as Uint8Array[],
      openings,
    })),
  ),
);
add(
  "first-follows-nothing",
  [20],
  "the first receipt does not carry the ledger's id",
  "E_CHAIN_PREV@1 suspect 1",
  changed((p, s) =>
    reheader(receiptAt(p, 1), () => ({ prevHash: new Uint8Array(32) }), s.ledgerKey),
  ),
);
add(
  "no-signature",
  [1],
  "a receipt without a signature",
  "E_RECEIPT_SIG@3",
  changed((p) => reseal(receiptAt(p, 3), ({ body }) => ({ body, signatures: [] }))),
);
add(
  "two-signatures",
  [6],
  "a receipt that another signed as well",
  "E_RECEIPT_SIG@3",
  changed((p) =>
    reseal(receiptAt(p, 3), ({ body, signatures }) => ({
      body,
      signatures: [...signatures, { key: keyOf("mallory").publicKey, value: new Uint8Array(64) }],
    })),
  ),
);
add(
  "key-unknown",
  [21, 22],
  "a receipt signed by a key that says it is another",
  "E_KEY_UNKNOWN@3",
  changed((p) => reheader(receiptAt(p, 3), () => ({}), keyOf("mallory"))),
);

// What a receipt must and must not say of itself.
for (const [slug, says, over] of [
  ["action-without-a-lease", "an action that cites no lease", { leaseRef: new Uint8Array(0) }],
  ["completed-with-a-reason", "completed, and yet a reason", { reason: "CRASHED" }],
  ["action-denied", "an action whose verdict is DENIED", { verdict: "DENIED" }],
  ["action-for-two", "an action that stands for two", { count: 2 }],
  ["action-without-a-scope", "an action outside every scope", { scope: "" }],
  [
    "action-that-refers",
    "an action that refers to another receipt",
    { refersTo: new Uint8Array(32) },
  ],
  ["action-that-redacts", "an action that erases fields", { redactedMask: 2 }],
] as const) {
  add(
    slug,
    [32],
    says,
    "E_RECEIPT_FIELDS@3",
    told((s) => s.act({ header: (d) => ({ ...d, ...over }) })),
  );
}
for (const [slug, says, over] of [
  ["denial-without-a-reason", "a denial that gives no reason", { reason: "UNSPECIFIED" }],
  ["denied-and-forwarded", "denied, and yet bytes left", { egressLastUs: START_US + 59 * SECOND }],
  ["denial-completed", "a denial that completed", { verdict: "COMPLETED" }],
  ["denial-for-none", "a denial that stands for none", { count: 0 }],
  ["denial-that-spends", "a denial that spends bytes", { spentBytes: 1 }],
] as const) {
  add(
    slug,
    [32],
    says,
    "E_RECEIPT_FIELDS@3",
    told((s) => s.deny({ path: "/a.B/C" }, over)),
  );
}
add(
  "no-boot",
  [3],
  "a ledger that does not begin with its boot",
  "E_RECEIPT_FIELDS@1",
  story(async (s) => {
    await s.lease();
    await s.act();
    await s.checkpoint();
  }),
);
add(
  "record-in-a-work-ledger",
  [43],
  "a record of the control plane's among an agent's receipts",
  "E_RECEIPT_FIELDS@3",
  told((s) => s.lifecycle({ kind: "RECORD", leaseRef: s.leaseRef })),
);
add(
  "boot-that-acts",
  [32],
  "a boot that forwarded something",
  "E_RECEIPT_FIELDS@3",
  told((s) => s.lifecycle({ egressLastUs: s.nowUs })),
);
add(
  "intents-fall",
  [53],
  "a receipt that knows of fewer intents than the one before",
  "E_RECEIPT_FIELDS@3",
  changed((p, s) =>
    reheader(receiptAt(p, 3), () => ({ intentsOpened: 0, intentSeq: 0 }), s.ledgerKey),
  ),
);
add(
  "id-falls",
  [50],
  "an id below the one before it",
  "E_ID_ORDER@3",
  told((s) => s.act({ receiptId: "rcp_01930000000070008000000000000000" })),
);
add(
  "id-of-another-form",
  [50],
  "an id that is no UUIDv7",
  "E_ID_FORMAT@3",
  told((s) => s.act({ receiptId: "rcp_01930000000040008000000000000009" })),
);
add(
  "id-in-capitals",
  [50],
  "an id in capitals",
  "E_ID_FORMAT@3",
  told((s) => s.act({ receiptId: "rcp_0193ABCDEF0070008000000000000009" })),
);
add(
  "id-twice",
  [50],
  "two boots under one id",
  "E_ID_DUP@4",
  told(async (s) => {
    const receiptId = "rcp_01930000004070008000000000000040";
    await s.lifecycle({ receiptId });
    await s.lifecycle({ receiptId });
  }),
);

/** Takes receipt `without` out and chains the rest anew, as whoever has the ledger key can. */
async function rechain(pieces: Piece[], s: Story, without: number): Promise<void> {
  drop(pieces, "RECEIPT", without);
  let before = hashOf(receiptAt(pieces, without - 1));
  for (let seq = without; ; seq++) {
    const piece = pieces.filter((p) => p.kind === "RECEIPT")[seq - 1];
    if (piece === undefined) return;
    const prevHash = before;
    await reheader(piece, () => ({ seq, prevHash }), s.ledgerKey);
    before = hashOf(piece);
  }
}

const hashOf = ({ body }: Piece): Uint8Array =>
  leafHash(crypto, SignedBytes.decode(ReceiptFrame.decode(body).signed).body);
