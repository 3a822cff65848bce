import { bytes, message, nested, oneOf, str, u32 } from "./canonical.ts";
import { PayloadRow } from "./payload.ts";
import { SignedBytes } from "./signed.ts";

/** What a tenant ledger remembers. Each is a RECORD receipt. */
export const RECORDED = [
  "UNSPECIFIED",
  "keyset",
  "manifest",
  "grant",
  "dock",
  "genesis",
  "lease",
  "revocation",
  "transition",
  "directive",
  "head",
  "equivocation",
  "alarm",
  "heartbeat",
] as const;

/**
 * The action field of a RECORD receipt: what was recorded, and who asked. The outcome field holds
 * the recorded bytes themselves: SignedBytes of that kind, canonical manifest bytes, or the text of
 * a signed note. Goal, evidence and claim are empty.
 */
export const RecordBody = message("record", {
  version: u32(1),
  what: oneOf(2, RECORDED),
  /** Login key of the operator who asked; absent: the control plane itself. */
  actor: bytes(3, 32),
  /** The RPC that asked, `dragons.v1.GrantService/RecordGrant`; absent: none did. */
  method: str(4),
  requestId: str(5),
});
export type RecordBody = ReturnType<typeof RecordBody.decode>;

/** How a control plane stores one entry of a tenant ledger. */
export const RecordRow = message("recordRow", {
  receipt: nested(1, SignedBytes),
  payload: nested(2, PayloadRow),
});
export type RecordRow = ReturnType<typeof RecordRow.decode>;
