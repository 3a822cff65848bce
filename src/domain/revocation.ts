import { equal } from "./bytes.ts";
import { bytes, message, oneOf, str, u32, u64 } from "./canonical.ts";
import type { Crypto } from "./crypto.ts";
import { type Invalid, invalid, isInvalid } from "./invalid.ts";
import { checkRoles, checkSigners, type KeysetBody } from "./keyset.ts";
import type { LeaseBody } from "./lease.ts";
import { purposeMax } from "./limits.ts";
import { isPrintable } from "./printable.ts";
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

/**
 * What is taken back: leases by the issuer, the rest by operators' grant keys. RESUME alone gives
 * something back: after TENANT, leave to cut new leases. Those from before it stay dead.
 */
export const REVOCATION_KINDS = [
  "UNSPECIFIED",
  "LEASE",
  "GRANT",
  "KEY",
  "MANIFEST",
  "INSTANCE",
  "TENANT",
  "RESUME",
] as const;
/** Kinds that name no target: they speak of the whole tenant. */
const WHOLE: readonly string[] = ["TENANT", "RESUME"];

/** Carried as a chain of epochs, so that a withheld revocation shows. */
export const RevocationBody = message("revocation", {
  version: u32(1),
  tenantId: str(2),
  /** From 1, one more at each revocation of the tenant. */
  epoch: u64(3),
  /** ref(revocation) of the epoch before; absent for the first. */
  previous: bytes(4, 32),
  kind: oneOf(5, REVOCATION_KINDS),
  /** ref of the lease, grant or manifest; the key; the ledger_id. Absent for TENANT and RESUME. */
  target: bytes(6, 32),
  effectiveUs: u64(7),
  reason: str(8),
});
export type RevocationBody = ReturnType<typeof RevocationBody.decode>;

export const REVOCATION: SignedKind<RevocationBody> = { name: "revocation", body: RevocationBody };

/**
 * Verifies a revocation that is about to be recorded: its signers may speak now. Leases are taken back
 * by the issuer; all else by as many operators as it takes to grant. Its place in the chain: `checkEpoch`.
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
  const times = { signedAtUs: body.effectiveUs, nowUs };
  return (
    firstOf(
      () => sameTenant("revocation.tenantId", body.tenantId, keyset.body.tenantId),
      () => checkRevocation(body),
      () => checkIssued("revocation.effectiveUs", body.effectiveUs, nowUs),
      () => checkSigners("revocation", keyset, roleOf(body), signers, times),
    ) ?? verified
  );
}

/**
 * Verifies a revocation as a link of the recorded chain, for those who live by it. What takes away
 * counts for good: its signer's key may have expired or been given up since, and the time it states
 * may be ahead of our clock. What RESUME gives back is judged anew each time, by `isLifted`.
 */
export function verifyRecordedRevocation(
  crypto: Crypto,
  signed: SignedBytes,
  keyset: Verified<KeysetBody>,
): Verified<RevocationBody> | Invalid {
  const opened = openVersion1(crypto, REVOCATION, signed);
  if (isInvalid(opened)) return opened;
  const { body, signers, verified } = opened;
  return (
    firstOf(
      () => sameTenant("revocation.tenantId", body.tenantId, keyset.body.tenantId),
      () => checkRevocation(body),
      () => must(body.effectiveUs > 0, "E_FIELD", "revocation.effectiveUs is absent"),
      () => checkRoles("revocation", keyset, roleOf(body), signers),
    ) ?? verified
  );
}

const roleOf = ({ kind }: RevocationBody): "ISSUER" | "OPERATOR_GRANT" =>
  kind === "LEASE" ? "ISSUER" : "OPERATOR_GRANT";

/** What is wrong with a revocation's content; null: nothing. */
export function checkRevocation(body: RevocationBody): Invalid | null {
  return firstOf(
    () => must(body.kind !== "UNSPECIFIED", "E_FIELD", "revocation.kind is absent"),
    () =>
      must(
        WHOLE.includes(body.kind) === !isPresent(body.target),
        "E_FIELD",
        "revocation.target names what is taken back; for TENANT and RESUME it is absent",
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

/** A lease and all that it rests on: what revocations may name. */
export interface Resting {
  readonly lease: Verified<LeaseBody>;
  /** Keys that signed it, its grant and its dock. */
  readonly signers: readonly Uint8Array[];
}

/** Whether a revocation names this lease or what it rests on. Whether a RESUME followed is not asked. */
export function touches({ kind, target }: RevocationBody, { lease, signers }: Resting): boolean {
  const { grantRef, ledgerId, manifestHash } = lease.body;
  switch (kind) {
    case "LEASE":
      return equal(target, lease.ref);
    case "GRANT":
      return equal(target, grantRef);
    case "MANIFEST":
      return equal(target, manifestHash);
    case "INSTANCE":
      return equal(target, ledgerId);
    case "KEY":
      return signers.some((key) => equal(key, target));
    case "TENANT":
      return true;
    case "RESUME":
    case "UNSPECIFIED":
      return false;
  }
}

/**
 * The revocation that takes a lease back, of all that are known; null: none does. One of the whole
 * tenant leaves alone what was cut in full knowledge of a RESUME after it.
 */
export function takesBack(
  keyset: Verified<KeysetBody>,
  revocations: readonly Verified<RevocationBody>[],
  resting: Resting,
): Verified<RevocationBody> | null {
  const hit = revocations.find(
    (r) => touches(r.body, resting) && !isLifted(keyset, revocations, r.body, resting.lease),
  );
  return hit ?? null;
}

/** Whether a lease was cut in full knowledge of a RESUME that followed this TENANT. */
export function isLifted(
  keyset: Verified<KeysetBody>,
  revocations: readonly Verified<RevocationBody>[],
  { kind, epoch }: RevocationBody,
  lease: Verified<LeaseBody>,
): boolean {
  if (kind !== "TENANT") return false;
  const known = lease.body.revocationEpoch;
  return revocations.some(
    (r) => r.body.epoch > epoch && r.body.epoch <= known && resumes(keyset, revocations, r),
  );
}

/** Whether this gives back what TENANT took: a RESUME whose signers are good to this day. */
function resumes(
  keyset: Verified<KeysetBody>,
  revocations: readonly Verified<RevocationBody>[],
  { body, signed }: Verified<RevocationBody>,
): boolean {
  if (body.kind !== "RESUME") return false;
  const signers = signed.signatures.map((s) => s.key);
  const revoked = revocations.some(
    (r) => r.body.kind === "KEY" && signers.some((key) => equal(key, r.body.target)),
  );
  // A key that was ever given up gives nothing back, whatever time its holder wrote.
  const times = { signedAtUs: body.effectiveUs, nowUs: Number.MAX_SAFE_INTEGER };
  return !revoked && checkSigners("revocation", keyset, "OPERATOR_GRANT", signers, times) === null;
}
