import { bytes, message, oneOf, str, u32, u64 } from "./canonical.ts";
import type { SignedKind } from "./signed.ts";

/** What is taken back. Leases and instances by the issuer; the rest by operators' grant keys. */
export const REVOCATION_KINDS = [
  "UNSPECIFIED",
  "LEASE",
  "GRANT",
  "KEY",
  "MANIFEST",
  "INSTANCE",
  "TENANT",
] as const;

/** Carried as a chain of epochs, so that a withheld revocation shows. */
export const RevocationBody = message("revocation", {
  version: u32(1),
  tenantId: str(2),
  /** From 1, one more at each revocation of the tenant. */
  epoch: u64(3),
  /** ref(revocation) of the epoch before; absent for the first. */
  previous: bytes(4, 32),
  kind: oneOf(5, REVOCATION_KINDS),
  /** ref of the lease, grant or manifest; the key; the ledger_id. Absent for TENANT. */
  target: bytes(6, 32),
  effectiveUs: u64(7),
  reason: str(8),
});
export type RevocationBody = ReturnType<typeof RevocationBody.decode>;

export const REVOCATION: SignedKind<RevocationBody> = { name: "revocation", body: RevocationBody };
