import type { Alarm } from "../domain/alarm.ts";
import { equal, toHex } from "../domain/bytes.ts";
import type { DirectiveBody } from "../domain/directive.ts";
import type { DockBody } from "../domain/dock.ts";
import type { GenesisBody } from "../domain/genesis.ts";
import { type GrantBody, LIMIT_NAMES, type ScopeGrant } from "../domain/grant.ts";
import type { HeartbeatBody } from "../domain/heartbeat.ts";
import type { KeysetBody } from "../domain/keyset.ts";
import { LEASE, type LeaseBody } from "../domain/lease.ts";
import type { Manifest } from "../domain/manifest.ts";
import type { RevocationBody } from "../domain/revocation.ts";
import type { Verified } from "../domain/signed.ts";
import { type State, TRANSITION, type TransitionBody } from "../domain/transition.ts";
import { Kept } from "./kept.ts";
import { Packed } from "./packed.ts";

/** A manifest by its hash, with the canonical bytes that hash to it. */
export interface HashedManifest {
  readonly hash: Uint8Array;
  readonly bytes: Uint8Array;
  readonly body: Manifest;
}

/** What can be recorded in a tenant ledger, verified before it comes here. */
export type Recordable =
  | { readonly what: "keyset"; readonly artifact: Verified<KeysetBody> }
  | { readonly what: "manifest"; readonly artifact: HashedManifest }
  | { readonly what: "grant"; readonly artifact: Verified<GrantBody> }
  | { readonly what: "dock"; readonly artifact: Verified<DockBody> }
  | { readonly what: "genesis"; readonly artifact: Verified<GenesisBody> }
  | { readonly what: "lease"; readonly artifact: Verified<LeaseBody> }
  | { readonly what: "revocation"; readonly artifact: Verified<RevocationBody> }
  | { readonly what: "transition"; readonly artifact: Verified<TransitionBody> }
  | { readonly what: "directive"; readonly artifact: Verified<DirectiveBody> }
  /** A cosigned head of a work ledger, as a signed note. */
  | { readonly what: "head"; readonly artifact: string }
  /** Two signed heads that contradict each other, or whatever else proves a fork. */
  | { readonly what: "equivocation"; readonly artifact: Uint8Array }
  | { readonly what: "alarm"; readonly artifact: Alarm }
  /** What a transition after it rests on. */
  | { readonly what: "heartbeat"; readonly artifact: Verified<HeartbeatBody> };

/** Whether watchers of organisms hear of it: leases and heads change no organism, and are quiet. */
export const isTold = (entry: Recordable): entry is Told =>
  entry.what === "transition" || entry.what === "genesis" || entry.what === "alarm";
type Told = Extract<Recordable, { what: "transition" | "genesis" | "alarm" }>;

interface Placed<T> {
  readonly artifact: T;
  /** seq of its record in the tenant ledger. */
  readonly seq: number;
  readonly recordedAtUs: number;
}

/** Where a record stands in the tenant ledger. */
export interface Place {
  readonly seq: number;
  readonly recordedAtUs: number;
  /** 32 bytes. */
  readonly leafHash: Uint8Array;
}

export type ManifestRecord = Placed<HashedManifest>;
export interface GrantRecord extends Placed<Verified<GrantBody>> {
  /** Epoch of the revocation that ended it; 0: in force. */
  revokedEpoch: number;
}
export interface DockRecord extends Placed<Verified<DockBody>> {
  /** Ledgers opened so far, by join key (hex). */
  readonly opened: Map<string, number>;
  /** Genesis bodies (hex) that came too late for their join key, by join key (hex). */
  readonly refused: Map<string, Set<string>>;
}
export interface LeaseRecord extends Placed<Verified<LeaseBody>> {
  readonly terms: LeaseTerms;
  revokedEpoch: number;
}
/** What is asked of a lease at every beat. */
export interface LeaseTerms
  extends Pick<
    LeaseBody,
    | "leaseId"
    | "ledgerId"
    | "leaseSeq"
    | "scopes"
    | "notBeforeUs"
    | "notAfterUs"
    | "issuedAtUs"
    | "revocationEpoch"
    | "sessionEpoch"
  > {
  /** Keys that signed it. */
  readonly signers: readonly Uint8Array[];
}
export interface LedgerRecord {
  /** ref(genesis), 32 bytes: `Tenant.genesis` reads it. */
  readonly ledgerId: Uint8Array;
  readonly instanceId: string;
  readonly ledgerKey: Uint8Array;
  readonly dockRef: Uint8Array;
  readonly grantRef: Uint8Array;
  readonly manifestHash: Uint8Array;
  readonly openedAtUs: number;
  /** Of its genesis. */
  readonly seq: number;
  /** Its organism's present state, and the transition that made it; null: docked. */
  state: State;
  transition: Verified<TransitionBody> | null;
  /** seq of its record, be it of this ledger or of the one before; 0: docked. */
  transitionSeq: number;
  /** seq of the last record that changed it: its own transition's, or else its genesis'. */
  changedSeq: number;
  /** The last lease issued to it, whether still valid or not; null: none yet. */
  lease: LeaseRecord | null;
  /** Epoch of a revocation of this instance; 0: none. */
  revokedEpoch: number;
}

/** Which records there were of a kind, of which no more is remembered. */
export type SeqLists = Pick<Projection, "told" | "transitions" | "heartbeats">;

/**
 * Everything of one tenant that decisions need, in memory: what its ledger says, replayed. Changed by
 * `apply` alone; everybody else reads.
 */
export class Projection {
  /** Null only before the first keyset is applied. */
  keyset: Verified<KeysetBody> | null = null;
  /** Keysets that handed over to another root, oldest first. */
  readonly handovers: Verified<KeysetBody>[] = [];
  readonly manifests = new Map<string, ManifestRecord>();
  readonly grants = new Map<string, GrantRecord>();
  readonly grantsById = new Map<string, GrantRecord>();
  readonly docks = new Map<string, DockRecord>();
  readonly ledgers = new Map<string, LedgerRecord>();
  /** The newest ledger of each instance. */
  readonly instances = new Map<string, LedgerRecord>();
  /** All of them, oldest first: what each was given counts at every renewal of another. */
  readonly #ledgersByInstance = new Map<string, LedgerRecord[]>();
  /** The same by grant: quotas are asked for at every renewal. */
  readonly #instancesByGrant = new Map<string, Map<string, LedgerRecord>>();
  /** seq of each record that watchers of organisms hear of, in order: eight bytes each. */
  readonly told: number[] = [];
  /** seq of the last record that changed an organism; 0: none has. */
  changedSeq = 0;
  /** seq of each transition's record, in order, by instance: eight bytes each. */
  readonly transitions = new Map<string, number[]>();
  /** The same of the beats that they rest on. */
  readonly heartbeats = new Map<string, number[]>();
  /** Last lease of each ledger, by lease id. */
  readonly leases = new Map<string, LeaseRecord>();
  /** The same by ref (hex): each that is taken back is looked for. */
  readonly #leasesByRef = new Map<string, LeaseRecord>();
  /** Epoch e at index e − 1. */
  readonly revocations: Verified<RevocationBody>[] = [];
  /** Epoch of the TENANT revocation that no RESUME has followed; 0: none. */
  stoppedEpoch = 0;
  /** When the last RESUME was signed; 0: there was none. */
  resumedUs = 0;
  /** Who signed the last lease: mostly who signs the next. */
  #signers: readonly Uint8Array[] = [];
  /** Epoch by kind, and by the target (hex): most is asked of kinds of which nothing was ever revoked. */
  readonly #revoked = new Map<RevocationBody["kind"], Map<string, number>>();
  /**
   * The records that all of this follows from, but for the lists of seqs: those alone, applied in their
   * order, make the same. What a record does must not depend on one that is dropped here; who changes
   * that changes `SNAPSHOT_VERSION` with it.
   */
  readonly kept = new Kept();

  apply(entry: Recordable, { seq, recordedAtUs, leafHash }: Place): void {
    const placed = { seq, recordedAtUs };
    if (isTold(entry)) this.told.push(seq);
    switch (entry.what) {
      case "keyset":
        this.kept.add(seq, leafHash);
        this.keyset = entry.artifact;
        if (entry.artifact.body.rootKey.length > 0) this.handovers.push(entry.artifact);
        return;
      case "manifest":
        this.kept.add(seq, leafHash);
        this.manifests.set(toHex(entry.artifact.hash), { artifact: entry.artifact, ...placed });
        return;
      case "grant": {
        const record = { artifact: entry.artifact, ...placed, revokedEpoch: 0 };
        this.kept.add(seq, leafHash);
        this.grants.set(toHex(entry.artifact.ref), record);
        this.grantsById.set(entry.artifact.body.grantId, record);
        return;
      }
      case "dock":
        this.kept.add(seq, leafHash);
        this.docks.set(toHex(entry.artifact.ref), {
          artifact: entry.artifact,
          ...placed,
          opened: new Map(),
          refused: new Map(),
        });
        return;
      case "genesis":
        this.kept.add(seq, leafHash);
        this.#openLedger(entry.artifact, seq, recordedAtUs);
        return;
      case "lease": {
        const ledger = this.ledgers.get(toHex(entry.artifact.body.ledgerId));
        if (ledger === undefined) return;
        if (ledger.lease !== null) this.#forget(ledger.lease);
        this.kept.add(seq, leafHash);
        // It may have been taken back before it was recorded: it was learnt from its holder.
        const revokedEpoch = this.revokedEpoch("LEASE", entry.artifact.ref);
        const artifact = new Packed(LEASE, entry.artifact);
        const terms = this.#termsOf(entry.artifact, ledger);
        ledger.lease = { artifact, terms, ...placed, revokedEpoch };
        this.leases.set(terms.leaseId, ledger.lease);
        this.#leasesByRef.set(toHex(entry.artifact.ref), ledger.lease);
        return;
      }
      case "revocation":
        this.kept.add(seq, leafHash);
        this.#revoke(entry.artifact);
        return;
      case "transition": {
        placeUnder(this.transitions, entry.artifact.body.instanceId, seq);
        const ledger = this.ledgers.get(toHex(entry.artifact.body.ledgerId));
        if (ledger === undefined) return;
        const before = ledger.transitionSeq;
        ledger.transition = new Packed(TRANSITION, entry.artifact);
        ledger.state = entry.artifact.body.to;
        ledger.transitionSeq = seq;
        ledger.changedSeq = seq;
        this.changedSeq = seq;
        this.kept.add(seq, leafHash);
        // A successor may still stand where the ledger before it stood.
        const isShared = this.ledgersOf(ledger.instanceId).some((l) => l.transitionSeq === before);
        if (before !== 0 && !isShared) this.kept.drop(before);
        return;
      }
      case "alarm": {
        const { kind, dockRef, joinKey, genesis } = entry.artifact;
        if (kind !== "JOIN_KEY_SPENT") return;
        this.kept.add(seq, leafHash);
        const refused = this.docks.get(toHex(dockRef))?.refused;
        const known = refused?.get(toHex(joinKey)) ?? new Set<string>();
        refused?.set(toHex(joinKey), known.add(toHex(genesis.body)));
        return;
      }
      case "heartbeat": {
        const ledger = this.ledgers.get(toHex(entry.artifact.body.ledgerId));
        if (ledger !== undefined) placeUnder(this.heartbeats, ledger.instanceId, seq);
        return;
      }
      case "directive":
      case "head":
      case "equivocation":
        // Remembered by the ledger; nothing here is decided from them.
        return;
    }
  }

  /** Takes the lists of seqs as they were after the last record that was applied, in place of its own. */
  takeLists(lists: SeqLists): void {
    this.told.length = 0;
    for (const seq of lists.told) this.told.push(seq);
    for (const name of ["transitions", "heartbeats"] as const) {
      this[name].clear();
      for (const [instanceId, seqs] of lists[name]) this[name].set(instanceId, seqs);
    }
  }

  /** Epoch at which this was revoked; 0: it was not. */
  revokedEpoch(kind: RevocationBody["kind"], target: Uint8Array): number {
    return this.#revoked.get(kind)?.get(toHex(target)) ?? 0;
  }

  /** The ledger whose last lease this is; null: another has taken its place, or nobody was given it. */
  holderOf(leaseRef: Uint8Array): LedgerRecord | null {
    const lease = this.#leasesByRef.get(toHex(leaseRef));
    if (lease === undefined) return null;
    return this.ledgers.get(toHex(lease.terms.ledgerId)) ?? null;
  }

  /** Instances under a grant that have not stopped: what counts against its instancesMax. */
  instancesUnder(grantRef: Uint8Array): LedgerRecord[] {
    const all = this.#instancesByGrant.get(toHex(grantRef))?.values() ?? [];
    return [...all].filter((l) => l.state !== "STOPPED");
  }

  /** Instances whose manifest has this name: found by manifests and grants, of which there are few. */
  *instancesNamed(name: string): Generator<LedgerRecord> {
    const hashes = [...this.manifests.values()]
      .filter(({ artifact }) => artifact.body.name === name)
      .map(({ artifact }) => artifact.hash);
    if (hashes.length === 0) return;
    for (const [ref, instances] of this.#instancesByGrant) {
      const manifestHash = this.grants.get(ref)?.artifact.body.manifestHash;
      const isNamed = (hash: Uint8Array) => manifestHash !== undefined && equal(hash, manifestHash);
      if (hashes.some(isNamed)) yield* instances.values();
    }
  }

  /** No fewer than those, told without looking at each. */
  instancesMost(grantRef: Uint8Array): number {
    return this.#instancesByGrant.get(toHex(grantRef))?.size ?? 0;
  }

  /** Every ledger that an instance has had, oldest first. */
  ledgersOf(instanceId: string): readonly LedgerRecord[] {
    return this.#ledgersByInstance.get(instanceId) ?? [];
  }

  #openLedger(genesis: Verified<GenesisBody>, seq: number, openedAtUs: number): void {
    const { body } = genesis;
    const dock = this.docks.get(toHex(body.dockRef));
    if (dock === undefined) return;
    const joinKey = toHex(body.joinKey);
    dock.opened.set(joinKey, (dock.opened.get(joinKey) ?? 0) + 1);
    // A new ledger does not wash an instance clean: it begins in the state of the one before.
    const before = this.instances.get(body.instanceId);
    const { grantRef } = dock.artifact.body;
    const granted = this.grants.get(toHex(grantRef))?.artifact.body.manifestHash;
    const ledger: LedgerRecord = {
      ledgerId: genesis.ref,
      instanceId: body.instanceId,
      ledgerKey: body.ledgerKey.slice(),
      dockRef: dock.artifact.ref,
      grantRef,
      manifestHash: shared(body.manifestHash, granted),
      openedAtUs,
      seq,
      state: before?.state ?? "DOCKED",
      transition: before?.transition ?? null,
      transitionSeq: before?.transitionSeq ?? 0,
      changedSeq: seq,
      lease: null,
      revokedEpoch: 0,
    };
    this.changedSeq = seq;
    this.ledgers.set(toHex(genesis.ref), ledger);
    this.instances.set(body.instanceId, ledger);
    this.#ledgersByInstance.set(body.instanceId, [...this.ledgersOf(body.instanceId), ledger]);
    if (before !== undefined) this.#underGrant(before.grantRef).delete(body.instanceId);
    this.#underGrant(ledger.grantRef).set(body.instanceId, ledger);
  }

  #underGrant(grantRef: Uint8Array): Map<string, LedgerRecord> {
    const name = toHex(grantRef);
    const known = this.#instancesByGrant.get(name) ?? new Map<string, LedgerRecord>();
    this.#instancesByGrant.set(name, known);
    return known;
  }

  /** What is the same for many is kept once: scopes as they were granted, and the key that signs. */
  #termsOf({ body, signed }: Verified<LeaseBody>, ledger: LedgerRecord): LeaseTerms {
    const granted = this.grants.get(toHex(ledger.grantRef))?.artifact.body.scopes ?? [];
    const signers = signed.signatures.map((s) => s.key);
    const same = (key: Uint8Array, i: number): boolean => equal(key, this.#signers[i] ?? NOBODY);
    if (signers.length !== this.#signers.length || !signers.every(same)) {
      this.#signers = signers.map((key) => key.slice());
    }
    return {
      leaseId: body.leaseId,
      ledgerId: ledger.ledgerId,
      leaseSeq: body.leaseSeq,
      scopes: areSame(body.scopes, granted) ? granted : body.scopes,
      notBeforeUs: body.notBeforeUs,
      notAfterUs: body.notAfterUs,
      issuedAtUs: body.issuedAtUs,
      revocationEpoch: body.revocationEpoch,
      sessionEpoch: body.sessionEpoch,
      signers: this.#signers,
    };
  }

  /** Another lease has taken its place. */
  #forget({ seq, artifact, terms }: LeaseRecord): void {
    this.leases.delete(terms.leaseId);
    this.#leasesByRef.delete(toHex(artifact.ref));
    this.kept.drop(seq);
  }

  #revoke(revocation: Verified<RevocationBody>): void {
    const { kind, target, epoch } = revocation.body;
    this.revocations.push(revocation);
    const revoked = this.#revoked.get(kind) ?? new Map<string, number>();
    if (!revoked.has(toHex(target))) revoked.set(toHex(target), epoch);
    this.#revoked.set(kind, revoked);
    if (kind === "GRANT") {
      const grant = this.grants.get(toHex(target));
      if (grant?.revokedEpoch === 0) grant.revokedEpoch = epoch;
    }
    if (kind === "INSTANCE") {
      const ledger = this.ledgers.get(toHex(target));
      if (ledger?.revokedEpoch === 0) ledger.revokedEpoch = epoch;
    }
    if (kind === "RESUME") {
      this.stoppedEpoch = 0;
      this.resumedUs = revocation.body.effectiveUs;
    }
    if (kind === "TENANT") {
      if (this.stoppedEpoch === 0) this.stoppedEpoch = epoch;
      // For good: whoever is resumed earns new ones.
      for (const lease of this.leases.values()) {
        if (lease.revokedEpoch === 0) lease.revokedEpoch = epoch;
      }
    }
    if (kind === "LEASE") {
      const lease = this.#leasesByRef.get(toHex(target));
      if (lease?.revokedEpoch === 0) lease.revokedEpoch = epoch;
    }
  }
}

const NOBODY = new Uint8Array(0);

/** The one of two equal values that is kept already. */
const shared = (bytes: Uint8Array, known: Uint8Array | undefined): Uint8Array =>
  known !== undefined && equal(bytes, known) ? known : bytes.slice();

const areSame = (a: readonly ScopeGrant[], b: readonly ScopeGrant[]): boolean =>
  a.length === b.length &&
  a.every(({ name, limits }, i) => {
    const other = b[i];
    return other?.name === name && LIMITS.every((l) => limits[l] === other.limits[l]);
  });
const LIMITS = LIMIT_NAMES.map(([name]) => name);

function placeUnder(seqs: Map<string, number[]>, instanceId: string, seq: number): void {
  const known = seqs.get(instanceId);
  if (known === undefined) seqs.set(instanceId, [seq]);
  else known.push(seq);
}
