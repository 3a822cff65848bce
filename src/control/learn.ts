import { equal } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";
import { isInvalid } from "../domain/invalid.ts";
import { LeaseBody, verifyLease } from "../domain/lease.ts";
import {
  checkEpoch,
  RevocationBody,
  verifyRecordedRevocation,
  verifyRevocation,
} from "../domain/revocation.ts";
import type { SignedBytes } from "../domain/signed.ts";
import { refOf } from "../domain/signing.ts";
import { refusal, StatusError } from "../wire/status.ts";
import type { Organisms } from "./organisms.ts";
import type { LedgerRecord } from "./projection.ts";
import { notByRevoked, peek } from "./services/requests.ts";
import type { Tenant } from "./tenant.ts";

const NONE = new Uint8Array(0);

/** What a sidecar holds and hands over when it attaches; each verified from the bottom. */
export interface Handed {
  /** The last lease that it adopted; null: none. */
  readonly lease: SignedBytes | null;
  /** Revocations after the epoch that it was told, in order. */
  readonly revocations: readonly SignedBytes[];
}

/**
 * Takes back from a sidecar what this control plane has lost: to a restored backup, or to a crash
 * before a lease's record was durable. Nothing has to be believed: leases bear the issuer's own
 * signature, revocations their signers', in a chain.
 * @throws StatusError when what is handed over does not verify, or is another history than ours.
 */
export async function learn(
  { tenant, crypto, organisms }: { tenant: Tenant; crypto: Crypto; organisms: Organisms },
  ledger: LedgerRecord,
  { lease, revocations }: Handed,
): Promise<void> {
  // The lease first: a revocation among these may be of it.
  if (lease !== null) await learnLease(tenant, crypto, organisms, ledger, lease);
  for (const signed of revocations) await learnRevocation(tenant, crypto, signed);
}

async function learnLease(
  tenant: Tenant,
  crypto: Crypto,
  organisms: Organisms,
  ledger: LedgerRecord,
  signed: SignedBytes,
): Promise<void> {
  const known = ledger.lease?.artifact;
  if (known !== undefined && equal(known.ref, refOf(crypto, "lease", signed.body))) return;
  const genesis = await tenant.genesis(ledger);
  const { done } = await tenant.exclusive(async () => {
    const grant = tenant.grant(ledger.grantRef)?.artifact;
    if (grant === undefined) throw new Error("a ledger without its grant");
    const { issuedAtUs: nowUs } = peek(LeaseBody, signed, "proof.lease");
    const context = { keyset: tenant.keyset(), grant, genesis, manifest: null, nowUs };
    const artifact = verifyLease(crypto, signed, context);
    // By a key that was given up it is worth nothing to anybody; it must not keep its sidecar out.
    if (isInvalid(artifact) && artifact.code === "E_KEY_COMPROMISED") return { done: null };
    if (isInvalid(artifact)) throw refusal(artifact);
    const last = ledger.lease?.terms.leaseSeq ?? 0;
    if (artifact.body.leaseSeq <= last) return { done: null };
    const recorded = tenant.record({ entries: [{ what: "lease", artifact }] });
    const untilUs = artifact.body.notAfterUs;
    const input = { kind: "lease", ref: artifact.ref, untilUs } as const;
    return { done: Promise.all([recorded, organisms.input(ledger.instanceId, input).durable]) };
  });
  await done;
}

async function learnRevocation(tenant: Tenant, crypto: Crypto, signed: SignedBytes): Promise<void> {
  const { done } = await tenant.exclusive(async () => {
    const { epoch, effectiveUs } = peek(RevocationBody, signed, "proof.revocations");
    const ref = refOf(crypto, "revocation", signed.body);
    if (equal(tenant.revocations()[epoch - 1]?.ref ?? NONE, ref)) return { done: null };
    const keyset = tenant.keyset();
    // What a restore lost was judged when it was recorded. All else is new here, and whoever may not
    // revoke any more, or not alone, must not do so by way of a sidecar.
    const isLost = tenant.mayHaveLost(effectiveUs);
    const revocation = isLost
      ? verifyRecordedRevocation(crypto, signed, keyset)
      : verifyRevocation(crypto, signed, keyset, tenant.nowUs());
    if (isInvalid(revocation)) throw refusal(revocation);
    if (!isLost) notByRevoked(tenant, "proof.revocations", signed);
    const misplaced = checkEpoch(tenant.revocations().at(-1) ?? null, revocation);
    if (misplaced !== null) {
      // Others were recorded here after a restore, before this sidecar told of its own.
      throw new StatusError(
        "FAILED_PRECONDITION",
        "STATE_UNFIT",
        `proof.revocations: ${misplaced.detail}; what this sidecar knows is not this control ` +
          "plane's history: dock it anew",
      );
    }
    return { done: tenant.record({ entries: [{ what: "revocation", artifact: revocation }] }) };
  });
  await done;
}
