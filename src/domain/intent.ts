import { bytes, message, oneOf, str, u32, u64 } from "./canonical.ts";
import { REASONS } from "./reason.ts";

/**
 * What is about to be done, durable before anything is forwarded. Never leaves the tenant whole:
 * the intent chain carries its hash, a pack the row of an intent still open.
 */
export const IntentBody = message("intent", {
  version: u32(1),
  receiptId: str(2),
  /** From 1, in opening order. */
  intentSeq: u64(3),
  leaseRef: bytes(4, 32),
  manifestHash: bytes(5, 32),
  scope: str(6),
  openedAtUs: u64(7),
  claim: bytes(8),
  claimSalt: bytes(9, 32),
  goal: bytes(10),
  goalSalt: bytes(11, 32),
  /** As in the receipt that closes it. */
  wouldDeny: oneOf(12, REASONS),
  /** Body bytes reserved for it until now, where its lease limits bytes. Grows while it is open. */
  reservedBytes: u64(13),
});
export type IntentBody = ReturnType<typeof IntentBody.decode>;
