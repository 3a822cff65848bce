import { toHex } from "../../domain/bytes.ts";
import type { ScopeGrant } from "../../domain/grant.ts";
import { HeartbeatBody } from "../../domain/heartbeat.ts";
import { isInstanceId } from "../../domain/ids.ts";
import { LeaseBody } from "../../domain/lease.ts";
import { refOf } from "../../domain/signing.ts";
import type { Lease } from "../../gen/dragons/v1/authority_pb.ts";
import { native } from "../../native/crypto.ts";
import { type Control, pages, requestId } from "../client.ts";
import { type LeftView, leftBy } from "./left.ts";

/** A lease as it is shown. Hashes in hex, times in microseconds. */
export interface LeaseView {
  readonly leaseId: string;
  readonly ref: string;
  readonly instanceId: string;
  readonly ledgerId: string;
  readonly grantRef: string;
  readonly manifestHash: string;
  readonly leaseSeq: number;
  readonly scopes: readonly ScopeGrant[];
  readonly notBeforeUs: number;
  readonly notAfterUs: number;
  /** Of the head that earned it. */
  readonly headSize: number;
  readonly sessionEpoch: number;
  /** Epoch of the revocation that ended it; 0: none did. */
  readonly revokedEpoch: number;
}

/** The lease that each instance holds now. */
export async function listLeases(control: Control): Promise<LeaseView[]> {
  const all: LeaseView[] = [];
  for await (const page of pages((pageToken) => control.leases.listLeases({ pageToken }))) {
    all.push(...page.leases.map(leaseView));
  }
  return all;
}

export async function getLease(control: Control, leaseId: string): Promise<LeaseView> {
  const { lease } = await control.leases.getLease({ leaseId });
  return leaseView(lease as Lease);
}

/** What a lease leaves its instance, by the instance's latest beat. */
export interface Autonomy {
  /** For how long it could go on alone, when it beat, microseconds; 0: under another lease by then. */
  readonly autonomyLeftUs: number;
  readonly left: readonly LeftView[];
}

/** null: its ledger has not beaten yet, or another has taken its place. */
export async function autonomyUnder(control: Control, lease: LeaseView): Promise<Autonomy | null> {
  const { pulse } = await control.organisms.getOrganism({ instanceId: lease.instanceId });
  const beat = pulse?.heartbeat === undefined ? null : HeartbeatBody.decode(pulse.heartbeat.body);
  if (beat === null || toHex(beat.ledgerId) !== lease.ledgerId) return null;
  const isHeld = toHex(beat.leaseRef) === lease.ref;
  return {
    autonomyLeftUs: isHeld ? beat.autonomyLeftUs : 0,
    left: leftBy(lease.scopes, beat.spent),
  };
}

/** Takes the lease of an instance back, now, by its id or the instance's. */
export async function revokeLease(
  control: Control,
  { which, reason }: { readonly which: string; readonly reason: string },
): Promise<{ readonly epoch: number }> {
  const lease = isInstanceId(which) ? { instanceId: which } : { leaseId: which };
  const answer = await control.leases.revokeLease({ requestId: requestId(), ...lease, reason });
  return { epoch: Number(answer.epoch) };
}

function leaseView({ signed, revokedEpoch }: Lease): LeaseView {
  const bytes = signed?.body ?? new Uint8Array(0);
  const body = LeaseBody.decode(bytes);
  return {
    leaseId: body.leaseId,
    ref: toHex(refOf(native, "lease", bytes)),
    instanceId: body.instanceId,
    ledgerId: toHex(body.ledgerId),
    grantRef: toHex(body.grantRef),
    manifestHash: toHex(body.manifestHash),
    leaseSeq: body.leaseSeq,
    scopes: body.scopes,
    notBeforeUs: body.notBeforeUs,
    notAfterUs: body.notAfterUs,
    headSize: body.headSize,
    sessionEpoch: body.sessionEpoch,
    revokedEpoch: Number(revokedEpoch),
  };
}
