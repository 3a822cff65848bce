import { bytes, message, oneOf, str, u32, u64 } from "./canonical.ts";
import { REASONS } from "./reason.ts";
import type { SignedKind } from "./signed.ts";

export const RECEIPT_KINDS = [
  "UNSPECIFIED",
  "ACTION",
  "DENIAL",
  "CORRECTION",
  "REDACTION",
  "LIFECYCLE",
  "RECORD",
] as const;
export type ReceiptKind = (typeof RECEIPT_KINDS)[number];

export const VERDICTS = [
  "UNSPECIFIED",
  "COMPLETED",
  "FAILED",
  "DENIED",
  "CUT",
  "INDETERMINATE",
] as const;
export type Verdict = (typeof VERDICTS)[number];

/** One completed work cycle, signed by the ledger key and chained to the receipt before it. */
export const ReceiptHeader = message("receipt", {
  version: u32(1),
  receiptId: str(2),
  tenantId: str(3),
  ledgerId: bytes(4, 32),
  /** From 1, without gaps. */
  seq: u64(5),
  /** H of the receipt before; of receipt 1, the ledger_id. */
  prevHash: bytes(6, 32),
  manifestHash: bytes(7, 32),
  /** Absent only for DENIAL, LIFECYCLE and RECORD. */
  leaseRef: bytes(8, 32),
  kind: oneOf(9, RECEIPT_KINDS),
  verdict: oneOf(10, VERDICTS),
  reason: oneOf(11, REASONS),
  /** Name of the scope that permitted it, or that came nearest. */
  scope: str(12),
  openedAtUs: u64(13),
  closedAtUs: u64(14),
  /** When the last byte left for the upstream; 0: nothing was forwarded. */
  egressLastUs: u64(15),
  /** The intent that this receipt closes; 0: none. */
  intentSeq: u64(16),
  /** How many intents this ledger had opened when the receipt was chained. */
  intentsOpened: u64(17),
  /** I at intentsOpened. */
  intentsHead: bytes(18, 32),
  /** How many identical denials it stands for; 1 for everything else. */
  count: u64(19),
  payloadHash: bytes(20, 32),
  /** H of the earlier receipt that a CORRECTION or REDACTION speaks of. */
  refersTo: bytes(21, 32),
  /** Bit f−1 set: payload field f was redacted. */
  redactedMask: u32(22),
  /** What an ACTION would have been refused for, had its lease not merely observed; else absent. */
  wouldDeny: oneOf(23, REASONS),
  /**
   * Body bytes charged to the scope, where its lease limits bytes (0 elsewhere: sizes are nobody's
   * business then): those that passed, both ways; when INDETERMINATE all that were reserved.
   */
  spentBytes: u64(24),
});
export type ReceiptHeader = ReturnType<typeof ReceiptHeader.decode>;

export const RECEIPT: SignedKind<ReceiptHeader> = { name: "receipt", body: ReceiptHeader };
