import { concat } from "../../../src/domain/bytes.ts";
import { PayloadRow } from "../../../src/domain/payload.ts";
import { ReceiptHeader } from "../../../src/domain/receipt.ts";
import { SignedBytes } from "../../../src/domain/signed.ts";
import { OpenIntentFrame, ReceiptFrame } from "../../../src/verifier/pack.ts";
import { SECOND, START_US, type Story } from "../../verifier/build.ts";
import { nth, type Piece } from "../../verifier/frames.ts";
import { changed, drop, group, only, receiptAt, reheader, rerow, story, told } from "./case.ts";

const { cases, add } = group("disclosure");
export const DISCLOSURE = cases;

const wrong = (n: number): Uint8Array => new Uint8Array(32).fill(n);
const row = (change: (row: PayloadRow) => PayloadRow) =>
  changed((p) => rerow(receiptAt(p, 2), change));

add(
  "altered",
  [44],
  "a payload is altered",
  "E_OPENING_MISMATCH@2",
  row((r) => ({
    ...r,
    openings: r.openings.map((o) => (o.field === 2 ? { ...o, data: concat(o.data, o.data) } : o)),
  })),
);
add(
  "salt-altered",
  [44],
  "a salt is altered",
  "E_OPENING_MISMATCH@2",
  row((r) => ({
    ...r,
    openings: r.openings.map((o) => (o.field === 2 ? { ...o, salt: wrong(1) } : o)),
  })),
);
add(
  "moved-between-receipts",
  [46],
  "openings of another receipt",
  "E_OPENING_MISMATCH@2",
  changed((p) => {
    const theirs = PayloadRow.decode(ReceiptFrame.decode(receiptAt(p, 4).body).row).openings;
    rerow(receiptAt(p, 2), (r) => ({ ...r, openings: theirs }));
  }),
);
add(
  "fields-exchanged",
  [45],
  "goal and outcome change places",
  "E_OPENING_MISMATCH@2",
  row((r) => ({
    ...r,
    openings: r.openings.map((o, _, all) => ({
      ...(all[o.field === 1 ? 3 : o.field === 4 ? 0 : o.field - 1] as typeof o),
      field: o.field,
    })),
  })),
);
add(
  "opened-twice",
  [40],
  "one field opened twice",
  "E_PAYLOAD_ROW@2",
  row((r) => ({
    ...r,
    openings: [r.openings[0] as (typeof r.openings)[0], ...r.openings],
  })),
);
add(
  "out-of-order",
  [40],
  "openings out of order",
  "E_PAYLOAD_ROW@2",
  row((r) => ({ ...r, openings: r.openings.toReversed() })),
);
add(
  "without-a-salt",
  [44],
  "an opening without its salt",
  "E_PAYLOAD_ROW@2",
  row((r) => ({
    ...r,
    openings: r.openings.map((o) => ({ ...o, salt: new Uint8Array(0) })),
  })),
);
add(
  "sixth-field",
  [39],
  "an opening of a field that there is not",
  "E_PAYLOAD_ROW@2",
  row((r) => ({
    ...r,
    openings: [...r.openings, { field: 6, salt: wrong(1), data: wrong(1) }],
  })),
);
add(
  "four-commitments",
  [45],
  "four commitments",
  "E_PAYLOAD_ROW@2",
  row((r) => ({ ...r, commitments: r.commitments.slice(1) })),
);
add(
  "withheld",
  [47],
  "every opening withheld: it holds, and says so",
  "ANCHORED SCOPE_UNSHOWN:4 WITHHELD:5",
  story(good, { disclose: [] }),
);
add(
  "claim-withheld",
  [47],
  "one claim withheld: its decision cannot be repeated",
  "ANCHORED SCOPE_UNSHOWN:1 WITHHELD:1",
  row((r) => ({ ...r, openings: r.openings.slice(0, 4) })),
);
add(
  "evidence-of-no-lease",
  [34],
  "evidence that names no lease",
  "E_LEASE_COVERAGE@3",
  told((s) => s.act({ evidence: (e) => ({ ...e, leases: [] }) })),
);
add(
  "evidence-of-another-lease",
  [34],
  "evidence that begins with another lease",
  "E_LEASE_COVERAGE@3",
  told((s) => s.act({ evidence: (e) => ({ ...e, leases: [wrong(1)] }) })),
);
add(
  "nothing-in-it",
  [47],
  "completed, and its goal is empty",
  "E_EVIDENCE_EMPTY@3",
  told((s) => s.act({ goal: new Uint8Array(0) })),
);
const refer =
  (kind: "CORRECTION" | "REDACTION", seq: number, mask = 0) =>
  async (s: Story) =>
    s.lifecycle({
      kind,
      refersTo: s.receipts[seq - 1]?.hash ?? wrong(7),
      leaseRef: s.leaseRef,
      redactedMask: mask,
    });
add(
  "correction",
  [48],
  "a correction of an earlier receipt",
  "ANCHORED",
  told(refer("CORRECTION", 2)),
);
add(
  "correction-of-nothing",
  [48, 53],
  "a correction of a receipt that there is not",
  "E_REF_UNKNOWN@3",
  told(refer("CORRECTION", 9)),
);
add(
  "redacted-and-open",
  [47],
  "an erased field that is still open",
  "E_OPENING_REDACTED@3",
  told(refer("REDACTION", 2, 2)),
);
add(
  "redacted",
  [47],
  "an erased field is told as erased",
  "ANCHORED ERASED:1",
  told(refer("REDACTION", 2, 2), {
    change: (p) =>
      rerow(receiptAt(p, 2), (r) => ({ ...r, openings: r.openings.filter((o) => o.field !== 2) })),
  }),
);
add(
  "redacted-after-the-range",
  [47],
  "a range that ends before the redaction, with the field open: nothing in it says that it was erased since",
  "ANCHORED RANGE:2",
  told(refer("REDACTION", 2, 2), { range: { from: 1, to: 2 } }),
);
add(
  "redacted-after-the-range-and-closed",
  [47],
  "the same as an honest keeper writes it, who has the field no more: withheld, not erased",
  "ANCHORED RANGE:2 WITHHELD:1",
  told(refer("REDACTION", 2, 2), {
    range: { from: 1, to: 2 },
    change: (p) =>
      rerow(receiptAt(p, 2), (r) => ({ ...r, openings: r.openings.filter((o) => o.field !== 2) })),
  }),
);
add(
  "redacts-nothing",
  [47],
  "a redaction that names no field",
  "E_RECEIPT_FIELDS@3",
  told(refer("REDACTION", 2, 0)),
);
add(
  "redacts-a-sixth-field",
  [47],
  "a redaction of a field that there is not",
  "E_RECEIPT_FIELDS@3",
  told(refer("REDACTION", 2, 32)),
);

const { cases: intents, add: open } = group("intent");
export const INTENTS = intents;

open(
  "closed-twice",
  [5],
  "one intent closed by two receipts",
  "E_INTENT_DUP@3",
  told((s) => s.act({ header: (d) => ({ ...d, intentSeq: 1 }) })),
);
open(
  "still-open",
  [53],
  "an intent that is still open is told",
  "ANCHORED OPEN_INTENT:1",
  story(opening),
);
open(
  "left-out",
  [53],
  "the row of an open intent is left out",
  "E_INTENT_MISSING@6",
  story(opening, { change: (p) => drop(p, "OPEN_INTENT") }),
);
/** Receipts without their rows, as a control plane holds them; all but those of `kept`. */
const bare = (kept: readonly number[] = []) => ({
  change: (p: Piece[]) => {
    drop(p, "OPEN_INTENT");
    for (const piece of p.filter((x) => x.kind === "RECEIPT")) {
      const { signed } = ReceiptFrame.decode(piece.body);
      const { seq } = ReceiptHeader.decode(SignedBytes.decode(signed).body);
      if (!kept.includes(seq)) piece.body = ReceiptFrame.encode({ signed, row: new Uint8Array(0) });
    }
  },
});
open(
  "rows-nowhere",
  [47, 53],
  "headers alone, as a control plane holds them: what is open there is told by its number",
  "ANCHORED OPEN_INTENT:1 SCOPE_UNSHOWN:3 WITHHELD:6",
  story(opening, bare()),
);
open(
  "rows-but-one",
  [47, 53],
  "one row is shown: then the open intent's is owed",
  "E_INTENT_MISSING@6",
  story(opening, bare([1])),
);
open(
  "row-twice",
  [5],
  "the row of an open intent stands twice",
  "E_INTENT_COUNT@6",
  story(opening, {
    change: (p) => p.splice(nth(p, "OPEN_INTENT", 1), 0, only(p, "OPEN_INTENT")),
  }),
);
open(
  "row-without-lease",
  [5],
  "the row of an open intent does not say under which lease",
  "E_INTENT_COUNT@6",
  story(opening, { change: rewritten({ leaseRef: new Uint8Array() }) }),
);
open(
  "row-altered",
  [44],
  "the claim of an open intent is altered after a heartbeat carried it",
  "E_HEARTBEAT_HEAD@6",
  story(opening, { change: rewritten({ claimCommitment: wrong(1) }) }),
);
open(
  "row-of-another-lease",
  [34],
  "an open intent under a lease that is not shown",
  "E_LEASE_MISSING@6",
  story(opening, { change: rewritten({ leaseRef: wrong(1) }) }),
);
open(
  "row-of-a-closed-intent",
  [5],
  "the row of an intent that is closed",
  "E_INTENT_COUNT@6",
  story(opening, { change: rewritten({ intentSeq: 3 }) }),
);
open(
  "head-altered",
  [10],
  "a receipt that states another head of the intents",
  "E_INTENT_CHAIN@2",
  changed(async (p, s) => {
    await reheader(receiptAt(p, 2), () => ({ intentsHead: wrong(1) }), s.ledgerKey);
  }),
);
open(
  "of-an-hour-before",
  [49],
  "an open intent from before the one that it follows",
  "E_TIME_BACKWARDS@6",
  story(opening, { change: rewritten({ openedAtUs: START_US - 3600 * SECOND }) }),
);

/** As the good story is told. */
async function good(s: Story): Promise<void> {
  await s.lifecycle();
  await s.lease();
  await s.act();
  await s.act();
  await s.act();
  await s.deny({ path: "/payments.v1.Payments/Refund" });
  await s.checkpoint();
}

/** Three calls closed, one open, a heartbeat over all of it. */
async function opening(s: Story): Promise<void> {
  await s.lifecycle();
  await s.lease();
  for (let i = 0; i < 3; i++) await s.act();
  s.begin();
  await s.lifecycle();
  await s.lifecycle();
  await s.beat();
  await s.checkpoint();
}

function rewritten(over: Partial<OpenIntentFrame>) {
  return (p: Piece[]) => {
    const piece = only(p, "OPEN_INTENT");
    piece.body = OpenIntentFrame.encode({ ...OpenIntentFrame.decode(piece.body), ...over });
  };
}
