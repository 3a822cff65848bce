import { equal } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";
import { type GrantBody, verifyGrant } from "../domain/grant.ts";
import type { HeartbeatBody } from "../domain/heartbeat.ts";
import { type Invalid, isInvalid } from "../domain/invalid.ts";
import { checkSigners, type KeysetBody, verdictsUntilUs } from "../domain/keyset.ts";
import { LEASE, type LeaseBody } from "../domain/lease.ts";
import { leaseRenewedAt, leaseTtlDefaultUs } from "../domain/limits.ts";
import { holdsAuthority, mayBeLeased } from "../domain/organism.ts";
import type { Reason } from "../domain/reason.ts";
import type { SignedBytes, Verified } from "../domain/signed.ts";
import { EarliestFirst } from "./earliest.ts";
import { reservedUntilUs } from "./horizon.ts";
import type { Organisms } from "./organisms.ts";
import type { GrantRecord, LedgerRecord, Recordable } from "./projection.ts";
import { areCounted, ceilings, handsOutMore, runsLow, type SlabAccount } from "./slabs.ts";
import type { Tenant } from "./tenant.ts";

/** Of a dock that is not known: nobody signed it. */
const NOBODY: SignedBytes = { body: new Uint8Array(0), signatures: [] };

/** Why no lease is cut: in the one closed list, and a sentence. */
export interface Withheld {
  readonly reason: Reason;
  readonly detail: string;
}

/** What earns a lease: a live session, and a head that the receipts held bear out. */
export interface Earned {
  readonly ledger: LedgerRecord;
  readonly sessionEpoch: number;
  readonly beat: Verified<HeartbeatBody>;
  /** Signed note of the beat's head, to be recorded beside the lease; null: recorded before. */
  readonly note: string | null;
}

/** What ends leases that were cut before, beside their own end. */
const GONE: readonly Reason[] = ["LEASE_REVOKED", "LEASE_MISMATCH", "MANIFEST_RETIRED"];

/** Beats in one lease, at least: whoever misses a few still renews in time. */
const BEATS_PER_LEASE = 6;

/** How long a lease of this grant lasts, in microseconds. */
const ttlOf = (grant: GrantRecord): number =>
  Math.min(leaseTtlDefaultUs, grant.artifact.body.leaseTtlMaxUs);

/** How often a sidecar must beat for its leases to be renewed in time. */
export const beatIntervalUs = (grant: GrantRecord, policyUs: number): number =>
  Math.min(policyUs, Math.floor(ttlOf(grant) / BEATS_PER_LEASE));

/** Whether the instance's present lease is to be replaced by now, whatever it has left to spend. */
function isDue({ lease }: LedgerRecord, sessionEpoch: number, nowUs: number): boolean {
  if (lease === null || lease.revokedEpoch !== 0) return true;
  const { notBeforeUs, notAfterUs, sessionEpoch: epoch } = lease.terms;
  return (
    epoch !== sessionEpoch || nowUs >= notBeforeUs + (notAfterUs - notBeforeUs) * leaseRenewedAt
  );
}

/**
 * The number after that of the lease last cut. One is left out when this beat was made without that
 * lease, lost on its way with its session: until the new one arrives the sidecar goes on under the
 * one before, which the lease two numbers up would pin as over (E_HEAD_LAG), against an honest ledger.
 */
function nextSeq({ lease }: LedgerRecord, { leaseRef }: HeartbeatBody): number {
  if (lease === null) return 1;
  return lease.terms.leaseSeq + (equal(leaseRef, lease.artifact.ref) ? 1 : 2);
}

/** The issuer of one tenant: cuts leases from grants, for those who earned them. */
export class Issuer {
  readonly #tenant: Tenant;
  readonly #crypto: Crypto;
  readonly #organisms: Organisms;
  readonly #queue = new EarliestFirst();
  /** Grants that were judged well, by which keyset, and when that holds. */
  readonly #judged = new WeakMap<
    Verified<GrantBody>,
    { keyset: Verified<KeysetBody>; manifestHash: Uint8Array; fromUs: number; untilUs: number }
  >();
  /** By instance, until when leases of it are reserved durably. */
  readonly #horizons = new Map<string, number>();
  /** Instances whose last lease is on its way to the disk. */
  readonly #unrecorded = new Set<string>();

  constructor(tenant: Tenant, crypto: Crypto, organisms: Organisms) {
    this.#tenant = tenant;
    this.#crypto = crypto;
    this.#organisms = organisms;
  }

  /**
   * Cuts the next lease and records it, with the head that earned it; who has least left is served
   * first. `deliver` is called at most once, and no other way to hear of the lease is needed but the
   * record. Resolves with why there is none; null: there is one, or none was due.
   *
   * A first lease, and one with a further slab, is told when it is durable. Others are told at once, whatever the disk does:
   * the record of the one before reserves the time that they may last (`horizon.ts`), and never is more
   * than one not yet recorded. What a crash then loses, its holder hands back at Attach.
   */
  async renew(
    earned: Earned,
    deliver: (lease: Verified<LeaseBody>) => void,
  ): Promise<Withheld | null> {
    const outcome = await this.#queue.run(this.#deadlineOf(earned.ledger), () =>
      this.#tenant.exclusive(() => this.#cut(earned, deliver)),
    );
    await outcome.done;
    return outcome.withheld;
  }

  /** Until when it may still act; those that may not any more come after those that may. */
  #deadlineOf({ lease }: LedgerRecord): number {
    if (lease === null || lease.revokedEpoch !== 0) return Number.POSITIVE_INFINITY;
    const { notAfterUs } = lease.terms;
    return notAfterUs > this.#tenant.nowUs() ? notAfterUs : Number.POSITIVE_INFINITY;
  }

  async #cut(
    earned: Earned,
    deliver: (lease: Verified<LeaseBody>) => void,
  ): Promise<{ withheld: Withheld | null; done?: Promise<unknown> }> {
    const nowUs = this.#tenant.nowUs();
    const withheld = this.withholds(earned, nowUs);
    if (withheld !== null) return { withheld };
    if (!this.due(earned, nowUs)) return { withheld: null };
    const lease = await this.#tenant.issue(LEASE, this.#body(earned, nowUs));
    const { instanceId } = earned.ledger;
    const reserved = this.#horizons.get(instanceId) ?? 0;
    // What it hands out anew must outlive this process, or another ledger would be given it again.
    const more = handsOutMore(earned.ledger.lease?.terms.scopes ?? [], lease.body.scopes);
    const ahead =
      !more &&
      lease.body.notAfterUs <= reserved &&
      !this.#unrecorded.has(instanceId) &&
      !this.#tenant.isRekeying;
    const done = this.#record(earned, lease);
    if (!ahead) return { withheld: null, done };
    deliver(lease);
    // The tenant fails with it, and its owner is told so.
    done.catch(() => {});
    return { withheld: null };
  }

  /**
   * Whether a lease is to be cut by now: it is time, or little is left to spend and there is more. Of
   * what is left only a beat under the last lease may complain: one from before it arrived would earn
   * a lease that pins as over what is honestly done under the one that is on its way.
   */
  due(earned: Earned, nowUs: number): boolean {
    const { ledger, beat, sessionEpoch } = earned;
    if (isDue(ledger, sessionEpoch, nowUs) || this.#isForsaken(ledger, nowUs)) return true;
    const last = ledger.lease?.artifact.ref ?? null;
    if (last === null || !equal(beat.body.leaseRef, last)) return false;
    const granted = this.#tenant.grant(ledger.grantRef)?.artifact.body.scopes ?? [];
    return areCounted(granted) && runsLow(this.#account(earned, nowUs));
  }

  #account({ ledger, beat }: Earned, nowUs: number): SlabAccount {
    const { grantRef, instanceId, lease } = ledger;
    const others = this.#tenant
      .ledgersOf(instanceId)
      .filter((l) => l !== ledger && equal(l.grantRef, grantRef));
    return {
      granted: this.#tenant.grant(grantRef)?.artifact.body.scopes ?? [],
      last: lease?.terms.scopes ?? [],
      others: others.flatMap((l) => (l.lease === null ? [] : [l.lease.terms])),
      spent: beat.body.spent,
      nowUs,
    };
  }

  /** Whether the key that signed the present lease has been given up since. */
  #isForsaken({ lease }: LedgerRecord, nowUs: number): boolean {
    if (lease === null) return false;
    const { issuedAtUs, signers } = lease.terms;
    const times = { signedAtUs: issuedAtUs, nowUs };
    return (
      this.#tenant.areRevokedKeys(signers) ||
      checkSigners("lease", this.#tenant.keyset(), "ISSUER", signers, times) !== null
    );
  }

  /** Whether the present lease counts for nothing any more, whatever its end says. */
  isTakenBack(ledger: LedgerRecord, nowUs: number): boolean {
    if (ledger.lease === null) return false;
    if (ledger.lease.revokedEpoch !== 0 || this.#isForsaken(ledger, nowUs)) return true;
    const reason = this.standing({ ledger }, nowUs)?.reason;
    return reason !== undefined && GONE.includes(reason);
  }

  /** Why the instance may hold no authority at all now, whoever is attached; null: it may. */
  standing({ ledger }: Pick<Earned, "ledger">, nowUs: number): Withheld | null {
    const tenant = this.#tenant;
    const view = this.#organisms.view(ledger.instanceId);
    const grant = tenant.grant(ledger.grantRef);
    if (tenant.unconfirmed) {
      const detail =
        "the control plane was restored from a backup, and operators have yet to confirm what is " +
        "revoked: dragons tenant resume";
      return { reason: "NO_LEASE", detail };
    }
    const considered = ledger.lease?.terms.revocationEpoch ?? 0;
    if (considered > tenant.revocationEpoch()) {
      const detail = `its last lease knew revocations up to ${considered}, which are missing here`;
      return { reason: "NO_LEASE", detail };
    }
    if (view.state === "STOPPED" || view.desired === "STOP" || view.facts.exitedUs > 0) {
      return { reason: "STOPPED", detail: "an operator stopped it, or it has ended" };
    }
    if (!mayBeLeased(view)) {
      return { reason: "QUARANTINED", detail: "quarantined until an operator releases it" };
    }
    if (grant === null || tenant.manifest(ledger.manifestHash) === null) {
      return { reason: "MANIFEST_NOT_RECORDED", detail: "its manifest or grant is not recorded" };
    }
    if (tenant.revokedEpoch("MANIFEST", ledger.manifestHash) !== 0) {
      return { reason: "MANIFEST_RETIRED", detail: "operators have retired its manifest" };
    }
    const revoked =
      grant.revokedEpoch !== 0 ||
      ledger.revokedEpoch !== 0 ||
      tenant.stoppedEpoch() !== 0 ||
      tenant.byRevokedKey(grant.artifact.signed) ||
      tenant.byRevokedKey(tenant.dock(ledger.dockRef)?.artifact.signed ?? NOBODY);
    if (revoked) {
      return {
        reason: "LEASE_REVOKED",
        detail: "its grant, instance or tenant, or a key that they rest on, is revoked",
      };
    }
    if (!tenant.mayIssue) {
      const detail = "the control plane's issuer key has expired or was given up: rotate it";
      return { reason: "NO_LEASE", detail };
    }
    const judged = this.#judge(grant, ledger.manifestHash, nowUs);
    if (judged !== null) {
      const early = judged.code === "E_NOT_YET_VALID";
      const ended = judged.code === "E_EXPIRED";
      const reason = early ? "LEASE_NOT_YET_VALID" : ended ? "LEASE_EXPIRED" : "LEASE_MISMATCH";
      return { reason, detail: judged.detail };
    }
    if (nowUs >= grant.artifact.body.notAfterUs) {
      return { reason: "LEASE_EXPIRED", detail: "its grant has ended" };
    }
    return null;
  }

  /**
   * What is wrong with a grant now; null: nothing. One that was judged well stays so under the same keyset
   * until a key begins to count as compromised: thousands of beats an hour ask for the same one.
   */
  #judge({ artifact }: GrantRecord, manifestHash: Uint8Array, nowUs: number): Invalid | null {
    const keyset = this.#tenant.keyset();
    const known = this.#judged.get(artifact);
    const same = known?.keyset === keyset && equal(known.manifestHash, manifestHash);
    if (same && nowUs >= known.fromUs && nowUs < known.untilUs) return null;
    const manifest = this.#tenant.manifest(manifestHash)?.artifact.body ?? null;
    const judged = verifyGrant(this.#crypto, artifact.signed, keyset, manifest, nowUs);
    if (isInvalid(judged)) return judged;
    const untilUs = verdictsUntilUs(keyset, nowUs);
    this.#judged.set(artifact, { keyset, manifestHash, fromUs: nowUs, untilUs });
    return null;
  }

  /** Why this beat earns no lease; null: it does. */
  withholds(earned: Earned, nowUs: number): Withheld | null {
    const { ledger, beat, sessionEpoch } = earned;
    const tenant = this.#tenant;
    const view = this.#organisms.view(ledger.instanceId);
    if (view.facts.sessionEpoch !== sessionEpoch || !view.facts.attached) {
      return { reason: "NO_LEASE", detail: "this session is over" };
    }
    if (!equal(beat.body.manifestHash, ledger.manifestHash)) {
      return { reason: "MANIFEST_DRIFT", detail: "what runs is not what was granted" };
    }
    const standing = this.standing(earned, nowUs);
    if (standing !== null) return standing;
    const revokedEpoch = ledger.lease?.revokedEpoch ?? 0;
    const revocation = revokedEpoch === 0 ? undefined : tenant.revocations()[revokedEpoch - 1];
    // An operator meant this very instance: it waits for a release. After RESUME nobody does.
    const meant =
      revocation?.body.kind === "LEASE" && revocation.body.effectiveUs >= view.releasedUs;
    if (meant) {
      const { reason } = revocation.body;
      return { reason: "LEASE_REVOKED", detail: `its lease was revoked: ${reason}` };
    }
    const max = tenant.grant(ledger.grantRef)?.artifact.body.instancesMax ?? 0;
    // Asked at every beat: only where there are too many is it worth knowing who still acts.
    if (tenant.instancesMost(ledger.grantRef) <= max) return null;
    const others = tenant
      .instancesUnder(ledger.grantRef)
      .filter((l) => l.instanceId !== ledger.instanceId)
      .filter((l) => holdsAuthority(this.#organisms.view(l.instanceId), nowUs));
    if (others.length >= max) {
      return { reason: "NO_LEASE", detail: `the grant allows ${max} instances at once` };
    }
    return null;
  }

  #body(earned: Earned, nowUs: number): LeaseBody {
    const { ledger, beat, sessionEpoch } = earned;
    const grant = this.#tenant.grant(ledger.grantRef);
    if (grant === null) throw new Error("a ledger without its grant");
    const { body } = grant.artifact;
    const control = this.#tenant.controlHead();
    return {
      version: 1,
      leaseId: this.#tenant.newId("lse"),
      tenantId: this.#tenant.tenantId,
      instanceId: ledger.instanceId,
      ledgerId: ledger.ledgerId,
      manifestHash: ledger.manifestHash,
      grantRef: ledger.grantRef,
      leaseSeq: nextSeq(ledger, beat.body),
      scopes: ceilings(this.#account(earned, nowUs)),
      notBeforeUs: nowUs,
      notAfterUs: Math.min(nowUs + ttlOf(grant), body.notAfterUs),
      issuedAtUs: nowUs,
      headSize: beat.body.size,
      headRoot: beat.body.root,
      intentsOpened: beat.body.intentsOpened,
      intentsHead: beat.body.intentsHead,
      revocationEpoch: this.#tenant.revocationEpoch(),
      sessionEpoch,
      controlSize: control.size,
      controlRoot: control.size === 0 ? new Uint8Array(0) : control.root,
      observeUntilUs: body.observeUntilUs,
    };
  }

  async #record({ ledger, note }: Earned, lease: Verified<LeaseBody>): Promise<void> {
    const { instanceId } = ledger;
    const { notAfterUs } = lease.body;
    const untilUs = reservedUntilUs(lease.body);
    const entries: Recordable[] = [{ what: "lease", artifact: lease }];
    if (note !== null) entries.unshift({ what: "head", artifact: note });
    this.#unrecorded.add(instanceId);
    const recorded = this.#tenant.record({ entries });
    // Counts from here on, as the record does; its row may follow later, since the ledger tells of the lease.
    const input = { kind: "lease", ref: lease.ref, untilUs: notAfterUs } as const;
    const { durable } = this.#organisms.input(instanceId, input);
    await Promise.all([recorded, durable]);
    this.#horizons.set(instanceId, untilUs);
    this.#unrecorded.delete(instanceId);
  }
}
