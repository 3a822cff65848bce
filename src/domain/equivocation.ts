import { bytes, message, nested, oneOf, u32 } from "./canonical.ts";
import { SignedBytes } from "./signed.ts";

/**
 * - RECEIPTS: two receipts with one seq.
 * - CHAIN: a receipt, and the one after it that names another as its predecessor.
 * - HEADS: two heartbeats with one size and two roots, or one count of intents and two heads of them.
 * - ROOT: a receipt, and a heartbeat of its size whose root is not that of the receipts up to it.
 */
const EQUIVOCATIONS = ["UNSPECIFIED", "RECEIPTS", "CHAIN", "HEADS", "ROOT"] as const;

/**
 * Two things that one ledger key signed and that cannot both be true: proof of two histories, to
 * anybody who has the key. It carries the signatures of what it proves, and needs none of its own.
 */
export const EquivocationBody = message("equivocation", {
  version: u32(1),
  ledgerId: bytes(2, 32),
  kind: oneOf(3, EQUIVOCATIONS),
  first: nested(4, SignedBytes),
  second: nested(5, SignedBytes),
});
export type Equivocation = ReturnType<typeof EquivocationBody.decode>;
