import { bytes, message, nested, repeated, str, u32, u64 } from "./canonical.ts";
import { ScopeGrant } from "./grant.ts";
import type { SignedKind } from "./signed.ts";

/**
 * A time-bounded, scope-restricted authority for ONE instance, cut from one grant by the issuer.
 * It pins the head that earned it, so nobody keeps acting without having history countersigned.
 */
export const LeaseBody = message("lease", {
  version: u32(1),
  leaseId: str(2),
  tenantId: str(3),
  instanceId: str(4),
  ledgerId: bytes(5, 32),
  manifestHash: bytes(6, 32),
  grantRef: bytes(7, 32),
  /** From 1, one more at each renewal for this ledger. */
  leaseSeq: u64(8),
  /** A subset of the grant's scopes; limits are slabs within the grant's. Sorted by name. */
  scopes: repeated(nested(9, ScopeGrant)),
  /** Half-open [notBefore, notAfter), microseconds since the epoch, no leeway. */
  notBeforeUs: u64(10),
  notAfterUs: u64(11),
  issuedAtUs: u64(12),
  /** The work ledger's head that earned this lease. */
  headSize: u64(13),
  headRoot: bytes(14, 32),
  intentsOpened: u64(15),
  intentsHead: bytes(16, 32),
  /** Revocations up to this epoch were considered. */
  revocationEpoch: u64(17),
  sessionEpoch: u64(18),
  /** The tenant ledger's head at the control plane when it was issued. */
  controlSize: u64(19),
  controlRoot: bytes(20, 32),
});
export type LeaseBody = ReturnType<typeof LeaseBody.decode>;

export const LEASE: SignedKind<LeaseBody> = { name: "lease", body: LeaseBody };
