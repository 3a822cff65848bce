import { bytes, message, oneOf, str, u32, u64 } from "./canonical.ts";
import type { Crypto } from "./crypto.ts";
import { type Invalid, invalid, isInvalid } from "./invalid.ts";
import { checkSigners, type KeysetBody } from "./keyset.ts";
import { purposeMax } from "./limits.ts";
import { isPrintable } from "./manifest.ts";
import type { SignedBytes, SignedKind, Verified } from "./signed.ts";
import {
  checkIssued,
  cites,
  firstOf,
  isPresent,
  must,
  openVersion1,
  sameTenant,
} from "./verify.ts";

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

/**
 * Verifies a revocation. Leases and instances are taken back by the issuer; grants, keys, manifests
 * and tenants by as many operators as it takes to grant. Its place in the chain: `checkEpoch`.
 */
export function verifyRevocation(
  crypto: Crypto,
  signed: SignedBytes,
  keyset: Verified<KeysetBody>,
  nowUs: number,
): Verified<RevocationBody> | Invalid {
  const opened = openVersion1(crypto, REVOCATION, signed);
  if (isInvalid(opened)) return opened;
  const { body, signers, verified } = opened;
  const role = body.kind === "LEASE" || body.kind === "INSTANCE" ? "ISSUER" : "OPERATOR_GRANT";
  return (
    firstOf(
      () => sameTenant("revocation.tenantId", body.tenantId, keyset.body.tenantId),
      () => checkRevocation(body),
      () => checkIssued("revocation.effectiveUs", body.effectiveUs, nowUs),
      () =>
        checkSigners("revocation", keyset, role, signers, { signedAtUs: body.effectiveUs, nowUs }),
    ) ?? verified
  );
}

/** What is wrong with a revocation's content; null: nothing. */
export function checkRevocation(body: RevocationBody): Invalid | null {
  return firstOf(
    () => must(body.kind !== "UNSPECIFIED", "E_FIELD", "revocation.kind is absent"),
    () =>
      must(
        (body.kind === "TENANT") === !isPresent(body.target),
        "E_FIELD",
        "revocation.target names what is taken back; for TENANT alone it is absent",
      ),
    () => must(body.epoch >= 1, "E_FIELD", "revocation.epoch counts from 1"),
    () =>
      must(
        body.epoch > 1 === isPresent(body.previous),
        "E_FIELD",
        "revocation.previous stands in every epoch but the first",
      ),
    () =>
      must(
        body.reason.length <= purposeMax && isPrintable(body.reason),
        "E_FIELD",
        `revocation.reason is not printable text of at most ${purposeMax} characters`,
      ),
  );
}

/** Whether `next` comes right after `last` (null: nothing was revoked yet), so that none is withheld. */
export function checkEpoch(
  last: Verified<RevocationBody> | null,
  next: Verified<RevocationBody>,
): Invalid | null {
  const expected = (last?.body.epoch ?? 0) + 1;
  const { epoch, previous } = next.body;
  if (epoch < expected) {
    return invalid("E_ROLLBACK", `revocation.epoch is ${epoch}, and ${expected} is next`);
  }
  if (epoch > expected) {
    return invalid("E_REF", `revocation.epoch is ${epoch}: those from ${expected} on are missing`);
  }
  return last === null ? null : cites("revocation.previous", previous, last.ref);
}
