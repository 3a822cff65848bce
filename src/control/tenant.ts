import { equal, toHex } from "../domain/bytes.ts";
import { bytes, message, nested, u64 } from "../domain/canonical.ts";
import { cosignCheckpoint, signCheckpoint } from "../domain/checkpoint.ts";
import type { Crypto, Signer } from "../domain/crypto.ts";
import type { GenesisBody } from "../domain/genesis.ts";
import { type IdGenerator, type IdPrefix, isId, newId } from "../domain/ids.ts";
import { isInvalid } from "../domain/invalid.ts";
import type { KeysetBody } from "../domain/keyset.ts";
import { sessionsPerOwner, sessionsPerRestore } from "../domain/limits.ts";
import { Frontier, type TreeHead } from "../domain/merkle.ts";
import { REVOCATION, type RevocationBody } from "../domain/revocation.ts";
import { SignedBytes, type SignedKind, type Verified } from "../domain/signed.ts";
import { refOf, signBody } from "../domain/signing.ts";
import type { Clock } from "../native/clock.ts";
import type {
  Command,
  ControlStore,
  KeyedRow,
  KeyWrite,
  LogEntry,
  LogEntryWrite,
  Row,
} from "../storage/control-store.ts";
import type {
  DockRecord,
  GrantRecord,
  LeaseRecord,
  LedgerRecord,
  ManifestRecord,
  Projection,
  Recordable,
} from "./projection.ts";
import { reopen } from "./reopen.ts";
import { draftSnapshot, SNAPSHOT_KEY, snapshotRows } from "./snapshot.ts";
import { Speakers } from "./speakers.ts";
import type { Keyring, TenantKeys } from "./tenant-keys.ts";
import {
  type Asked,
  type LedgerEnd,
  type OpenRecord,
  openRecord,
  type TenantLedger,
} from "./tenant-ledger.ts";

/** What a tenant needs from the world around it. */
export interface TenantWorld {
  readonly store: ControlStore;
  readonly keyring: Keyring;
  readonly clock: Clock;
  readonly crypto: Crypto;
  /** Strong random bytes. */
  readonly random: (n: number) => Uint8Array;
  /** Told what a person should know. */
  readonly say: (line: string) => void;
}

/** What is to be written at once, all of it or nothing. */
export interface Draft {
  /** Artifacts for the tenant ledger, each verified already. */
  readonly entries: readonly Recordable[];
  /** Who asked; recorded with each entry. */
  readonly asked?: Asked;
  /** Rows and logs of the caller's own, beside the ledger. Their keys must not begin with `tenant`. */
  readonly writes?: readonly KeyWrite[];
  readonly appends?: readonly LogEntryWrite[];
}

/** A request that is carried out once, however often it comes. */
export interface RequestKey {
  /** Unique within the tenant: method, actor and request_id. */
  readonly id: string;
  readonly digest: Uint8Array;
}

export interface RequestDraft extends Draft {
  /** What to answer, given the tenant ledger's size after it. */
  readonly answer: (revision: number) => Uint8Array;
}

/** What subscribers hear of, once it is durable. */
export interface RecordedEvent {
  /** seq of the last entry in the tenant ledger. */
  readonly revision: number;
  readonly atUs: number;
  readonly entries: readonly (Recordable & { readonly seq: number })[];
  readonly asked: Asked;
}

/** The request id was used before, for something else. */
export class RequestReused extends Error {
  override readonly name = "RequestReused";
}

/** A tenant can no longer be written: its storage failed, or another process took it over. */
export class TenantFailed extends Error {
  override readonly name = "TenantFailed";
}

export const LEDGER_LOG = "tenant-ledger";
/** What cosignatures are made under; a label, what counts is the key. */
export const COSIGNER_NAME = "control";
export const TENANT_KEY = "tenant";
/** `tenant/lease/<lease id>`: where in the ledger a lease stands, long after another took its place. */
const LEASE_PREFIX = "tenant/lease/";
const LeaseRow = message("leaseRow", { seq: u64(1) });

/** Written by `control restore`: what it found. */
export const RESTORED_KEY = "tenant/restored";
export const RestoredRow = message("restoredRow", {
  /** A RESUME from before then says nothing about it. */
  atUs: u64(1),
  /** How often this tenant was restored, this time included. */
  times: u64(2),
});
export type RestoredRow = ReturnType<typeof RestoredRow.decode>;

export const TenantRow = message("tenantRow", {
  rootKey: bytes(1, 32),
  genesis: nested(2, SignedBytes),
  createdAtUs: u64(3),
});

/**
 * One tenant: its one writer, fenced by the owner epoch, and all that decisions about it need.
 *
 * What is decided counts at once here, in memory, so that the next decision sees it; it is told to
 * anybody only once it is durable: `record` and `mutate` resolve then, subscribers hear then, and a
 * reader waits for `settled()` before it answers. If it cannot become durable, the tenant fails for
 * good, and the process must end.
 */
export class Tenant {
  readonly tenantId: string;
  /** The tenant root that signed the first keyset. */
  readonly #foundedBy: Uint8Array;
  #keys: TenantKeys;
  /** ref(genesis) of the tenant ledger. */
  readonly controlLedgerId: Uint8Array;
  readonly controlGenesis: Verified<GenesisBody>;
  /** 16 bytes that name what is recorded here: of another store they are others, and after a restore. */
  readonly history: Uint8Array;
  readonly #world: TenantWorld;
  readonly #ownerEpoch: number;
  readonly #ledger: TenantLedger;
  readonly #view: Projection;
  readonly #ids: IdGenerator;
  readonly #onFailed: (error: Error) => void;
  readonly #restored: RestoredRow;
  readonly #listeners = new Set<(event: RecordedEvent) => void>();
  readonly #speakers = new Speakers(this);
  readonly #requests = new Map<string, { digest: Uint8Array; answer: Promise<Uint8Array> }>();
  /** The ledger as far as it is durable; its root is found out when somebody asks. */
  #durable: LedgerEnd["chain"];
  #durableHead: TreeHead | null = null;
  /** Keysets and revocations that count here and are not durable yet. */
  #untold = 0;
  #failure: Error | null = null;
  /** The last command was handed to the store. */
  #handed: Promise<unknown> = Promise.resolve();
  /** The last command is durable. */
  #settled: Promise<unknown> = Promise.resolve();
  /** The last decision under the lock was made. */
  #lock: Promise<unknown> = Promise.resolve();

  constructor(parts: {
    world: TenantWorld;
    ownerEpoch: number;
    rootKey: Uint8Array;
    genesis: Verified<GenesisBody>;
    keys: TenantKeys;
    ledger: TenantLedger;
    view: Projection;
    ids: IdGenerator;
    restored: RestoredRow;
    onFailed: (error: Error) => void;
  }) {
    this.tenantId = parts.genesis.body.tenantId;
    this.#foundedBy = parts.rootKey;
    this.#keys = parts.keys;
    this.controlLedgerId = parts.genesis.ref;
    this.controlGenesis = parts.genesis;
    this.#world = parts.world;
    this.#ownerEpoch = parts.ownerEpoch;
    this.#ledger = parts.ledger;
    this.#view = parts.view;
    this.#ids = parts.ids;
    this.#onFailed = parts.onFailed;
    this.#restored = parts.restored;
    // When it was restored tells two restores of one backup from each other.
    const restored = RestoredRow.encode(parts.restored);
    this.history = parts.world.crypto.sha256(parts.genesis.ref, restored).slice(0, 16);
    this.#durable = parts.ledger.end().chain;
  }

  // What is known

  /** The tenant root's public key, which signs the next keyset. */
  get rootKey(): Uint8Array {
    const last = this.#view.handovers.at(-1);
    return last === undefined ? this.#foundedBy : last.body.rootKey;
  }

  /** Keysets that handed over to another root, oldest first. */
  handovers(): readonly Verified<KeysetBody>[] {
    return this.#view.handovers;
  }

  get issuerSigner(): Signer {
    return this.#speakers.of("ISSUER", this.#keys.issuer).signer;
  }

  get cosignerSigner(): Signer {
    return this.#speakers.of("COSIGNER", this.#keys.cosigner).signer;
  }

  /** Whether leases may be signed at all: the keyset names a key of ours as issuer, for now. */
  get mayIssue(): boolean {
    return this.#speakers.of("ISSUER", this.#keys.issuer).speaks;
  }

  /** Further keys were made; each is used from the keyset on that names it. */
  holdKeys(keys: TenantKeys): void {
    this.#keys = keys;
    this.#ledger.holdKeys(keys.controlLedger);
  }

  keyset(): Verified<KeysetBody> {
    if (this.#view.keyset === null) throw new Error(`tenant ${this.tenantId} has no keyset`);
    return this.#view.keyset;
  }

  /** By manifest_hash, or null. */
  manifest(hash: Uint8Array): ManifestRecord | null {
    return this.#view.manifests.get(toHex(hash)) ?? null;
  }

  grant(ref: Uint8Array): GrantRecord | null {
    return this.#view.grants.get(toHex(ref)) ?? null;
  }

  grantById(grantId: string): GrantRecord | null {
    return this.#view.grantsById.get(grantId) ?? null;
  }

  dock(ref: Uint8Array): DockRecord | null {
    return this.#view.docks.get(toHex(ref)) ?? null;
  }

  ledger(ledgerId: Uint8Array): LedgerRecord | null {
    return this.#view.ledgers.get(toHex(ledgerId)) ?? null;
  }

  /** The newest ledger of an instance. */
  instance(instanceId: string): LedgerRecord | null {
    return this.#view.instances.get(instanceId) ?? null;
  }

  /** Every ledger that an instance has had, oldest first. */
  ledgersOf(instanceId: string): readonly LedgerRecord[] {
    return this.#view.ledgersOf(instanceId);
  }

  /** The last lease of some ledger, by its id; null: unknown, or another has taken its place. */
  lease(leaseId: string): LeaseRecord | null {
    return this.#view.leases.get(leaseId) ?? null;
  }

  /** Any lease ever recorded, by its id. */
  async leaseById(leaseId: string): Promise<Omit<LeaseRecord, "terms"> | null> {
    const current = this.lease(leaseId);
    if (current !== null) return current;
    // An id that no row could have is the id of nothing.
    const row = isId("lse", leaseId) ? await this.get(LEASE_PREFIX + leaseId) : null;
    if (row === null) return null;
    const { seq } = LeaseRow.decode(row.value);
    const [record] = await this.records(seq, 1);
    if (record === undefined) return null;
    const entry = reopen(this.#world.crypto, record);
    if (isInvalid(entry) || entry.what !== "lease") throw new Error(`no lease at seq ${seq}`);
    const revokedEpoch = this.revokedEpoch("LEASE", entry.artifact.ref);
    const recordedAtUs = record.header.openedAtUs;
    return { artifact: entry.artifact, seq, recordedAtUs, revokedEpoch };
  }

  /** What a ledger was born from, once that is durable: asked for seldom, and too large to be kept of all. */
  async genesis({ ledgerId, seq }: LedgerRecord): Promise<Verified<GenesisBody>> {
    if (seq > this.durableSize) await this.settled();
    const [record] = await this.records(seq, 1);
    const entry = record && reopen(this.#world.crypto, record);
    const isIt = entry && !isInvalid(entry) && entry.what === "genesis";
    if (!isIt || !equal(entry.artifact.ref, ledgerId)) {
      throw new Error(`not the genesis of ledger ${toHex(ledgerId)} at seq ${seq}`);
    }
    return entry.artifact;
  }

  /** In recording order. */
  manifests = (): Iterable<ManifestRecord> => this.#view.manifests.values();
  grants = (): Iterable<GrantRecord> => this.#view.grants.values();
  docks = (): Iterable<DockRecord> => this.#view.docks.values();
  ledgers = (): Iterable<LedgerRecord> => this.#view.ledgers.values();
  instances = (): Iterable<LedgerRecord> => this.#view.instances.values();
  leases = (): Iterable<LeaseRecord> => this.#view.leases.values();
  /** Those whose manifest has this name. */
  instancesNamed = (name: string): Iterable<LedgerRecord> => this.#view.instancesNamed(name);

  /** seq of the last record that changed an organism, durable or not; 0: none has. */
  get changedSeq(): number {
    return this.#view.changedSeq;
  }

  /** Epoch e at index e − 1. */
  revocations(): readonly Verified<RevocationBody>[] {
    return this.#view.revocations;
  }

  revocationEpoch(): number {
    return this.#view.revocations.length;
  }

  /**
   * It came out of a backup, and operators have not said since that what is revoked is all there.
   * What was revoked after the backup may be unknown here, so nothing may be leased.
   */
  get unconfirmed(): boolean {
    return this.#view.resumedUs < this.#restored.atUs;
  }

  /**
   * Whether a revocation signed at that time may have been recorded here once: before the restore, of
   * which operators have yet to say what it lost.
   */
  mayHaveLost(effectiveUs: number): boolean {
    return this.unconfirmed && effectiveUs < this.#restored.atUs;
  }

  /**
   * Sessions are numbered above this, and need be stored by nobody: those that another process granted before
   * us, also after the backup that we come from, must stay over.
   */
  get sessionFloor(): number {
    const others = this.#ownerEpoch - 1;
    return this.#restored.times * sessionsPerRestore + others * sessionsPerOwner;
  }

  /** Epoch at which this was revoked; 0: it was not. */
  revokedEpoch(kind: RevocationBody["kind"], target: Uint8Array): number {
    return this.#view.revokedEpoch(kind, target);
  }

  /**
   * Whether leases that are cut now may rest on a keyset or a revocation that nobody was told of yet:
   * a sidecar would refuse them.
   */
  get isRekeying(): boolean {
    return this.#untold > 0;
  }

  /** Epoch of the revocation that stopped the whole tenant; 0: it goes on. */
  stoppedEpoch(): number {
    return this.#view.stoppedEpoch;
  }

  /** Whether operators took back one of the keys that signed this. */
  byRevokedKey({ signatures }: SignedBytes): boolean {
    return this.areRevokedKeys(signatures.map(({ key }) => key));
  }

  /** Whether operators took back one of these keys. */
  areRevokedKeys(keys: readonly Uint8Array[]): boolean {
    return keys.some((key) => this.revokedEpoch("KEY", key) !== 0);
  }

  /** Whose last lease this is; null: nobody's, or another has taken its place. */
  holderOf(leaseRef: Uint8Array): LedgerRecord | null {
    return this.#view.holderOf(leaseRef);
  }

  /** Instances under a grant that have not stopped. */
  instancesUnder(grantRef: Uint8Array): LedgerRecord[] {
    return this.#view.instancesUnder(grantRef);
  }

  /** No fewer than those, told without looking at each. */
  instancesMost(grantRef: Uint8Array): number {
    return this.#view.instancesMost(grantRef);
  }

  /** The tenant ledger's durable head: what a lease may pin. */
  controlHead(): TreeHead {
    const { size, frontier } = this.#durable;
    this.#durableHead ??= { size, root: new Frontier(this.#world.crypto, size, frontier).root() };
    return this.#durableHead;
  }

  /** How many records of the tenant ledger are durable. */
  get durableSize(): number {
    return this.#durable.size;
  }

  /**
   * The same as a signed note: the tenant ledger's own line, then the control plane's, whose word it is
   * that this is the largest one. null: the key that signs the ledger is not held here.
   */
  async controlNote(): Promise<{ readonly head: TreeHead; readonly note: string } | null> {
    const head = this.controlHead();
    const { signer } = this.#ledger;
    if (signer === null) return null;
    const { crypto } = this.#world;
    const checkpoint = { ledgerId: this.controlLedgerId, size: head.size, root: head.root };
    const own = await signCheckpoint(crypto, checkpoint, signer);
    const cosigner = { name: COSIGNER_NAME, signer: this.cosignerSigner };
    const note = await cosignCheckpoint(crypto, own, cosigner, Math.floor(this.nowUs() / 1e6));
    return { head, note };
  }

  nowUs(): number {
    return this.#world.clock.nowUs();
  }

  newId(prefix: IdPrefix): string {
    return newId(prefix, this.#ids);
  }

  // Reading what is stored

  /** A row of one's own, as written by `record`. */
  get(key: string): Promise<Row | null> {
    return this.#world.store.get(this.tenantId, key);
  }

  list(prefix: string, after: string, limit: number): Promise<KeyedRow[]> {
    return this.#world.store.list(this.tenantId, { prefix, after, limit });
  }

  read(log: string, from: number, limit: number): Promise<LogEntry[]> {
    return this.#world.store.read(this.tenantId, log, { from, limit });
  }

  size(log: string): Promise<number> {
    return this.#world.store.size(this.tenantId, log);
  }

  /** Entries of the tenant ledger from `from` upwards, durable ones alone. */
  async records(from: number, limit: number): Promise<OpenRecord[]> {
    const durable = this.durableSize;
    const rows = await this.read(LEDGER_LOG, from, Math.min(limit, durable - from + 1));
    return rows.map(({ value }) => openRecord(value));
  }

  /** Transitions of an instance after a seq of the tenant ledger, oldest first, durable ones alone. */
  async transitions(instanceId: string, after: number, limit: number): Promise<OpenRecord[]> {
    const seqs = (this.#view.transitions.get(instanceId) ?? []).filter((seq) => seq > after);
    return this.#recordsAt(seqs.slice(0, limit));
  }

  /** Beats of an instance that transitions rest on: recorded after one seq, and before another. */
  async heartbeats(instanceId: string, after: number, before: number): Promise<OpenRecord[]> {
    const all = this.#view.heartbeats.get(instanceId) ?? [];
    return this.#recordsAt(all.filter((seq) => seq > after && seq < before));
  }

  /** What watchers of organisms hear of, after a seq of the tenant ledger: in order, durable ones alone. */
  told(after: number, limit: number): Promise<OpenRecord[]> {
    const { told } = this.#view;
    const from = told.findLastIndex((seq) => seq <= after) + 1;
    return this.#recordsAt(told.slice(from, from + limit));
  }

  async #recordsAt(seqs: readonly number[]): Promise<OpenRecord[]> {
    const durable = seqs.filter((seq) => seq <= this.durableSize);
    return (await Promise.all(durable.map((seq) => this.records(seq, 1)))).flat();
  }

  /** Resolves when everything decided so far is durable: before anybody is told of it. */
  async settled(): Promise<void> {
    await this.#settled;
    if (this.#failure !== null) throw this.#failure;
  }

  // Writing

  /**
   * Records a draft: it counts from this call on, in the order of the calls, and is durable when
   * this resolves. Decide and call in one turn of the event loop, or under `exclusive`.
   * Returns the tenant ledger's size after it: the revision.
   * @throws TenantFailed when storage failed or another process owns the tenant: the end.
   */
  record(draft: Draft): Promise<{ revision: number }> {
    return this.#record(draft, [], undefined);
  }

  /**
   * One decision at a time: for those that must sign before they record. Do not wait in there for a
   * record to become durable; give its promise out in an object.
   */
  exclusive<T>(decide: () => Promise<T>): Promise<T> {
    const turn = this.#lock.then(decide);
    this.#lock = turn.catch(() => undefined);
    return turn;
  }

  /**
   * Carries out a request once, under `exclusive`: the same request again gives the first answer and
   * `prepare` is not asked. What `prepare` throws is the answer of this attempt alone.
   * @throws RequestReused when the id came before with another digest.
   */
  async mutate(request: RequestKey, prepare: () => Promise<RequestDraft>): Promise<Uint8Array> {
    return this.#mutate(request, prepare, []);
  }

  /**
   * The first answer to a request, durable; null: it was never carried out.
   * @throws RequestReused as `mutate` does.
   */
  async answered(request: RequestKey): Promise<Uint8Array | null> {
    const earlier = await this.#world.store.answered(this.tenantId, request.id);
    if (earlier === null) return null;
    if (!equal(earlier.digest, request.digest)) throw reused(request);
    await this.settled();
    return earlier.answer;
  }

  /** Signs a body with the issuer key; verified by making it. */
  async issue<T>(kind: SignedKind<T>, body: T): Promise<Verified<T>> {
    const signed = await signBody(kind, body, [this.issuerSigner]);
    return { body, signed, ref: refOf(this.#world.crypto, kind.name, signed.body) };
  }

  /** The next revocation, of a lease, by the issuer. Under `exclusive`, then recorded there. */
  issueRevocation(what: { target: Uint8Array; reason: string }): Promise<Verified<RevocationBody>> {
    return this.issue(REVOCATION, {
      version: 1,
      tenantId: this.tenantId,
      epoch: this.revocationEpoch() + 1,
      previous: this.#view.revocations.at(-1)?.ref ?? new Uint8Array(0),
      kind: "LEASE",
      // It is kept for good, and must not keep the lease that it lies in.
      target: what.target.slice(),
      effectiveUs: this.nowUs(),
      reason: what.reason,
    });
  }

  /** Calls back for each record, in order, once it is durable. Returns the way to stop. */
  subscribe(listener: (event: RecordedEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Writes what a start needs so that it need not walk everything recorded so far: a snapshot of now,
   * when all that it speaks of is durable. Returns its bytes.
   * @throws TenantFailed as `record` does, and whatever signing throws; the snapshot before it stays then.
   */
  async snapshot(): Promise<number> {
    const { crypto } = this.#world;
    const { signer } = this.#ledger;
    if (signer === null) throw new Error("the key that signs the ledger is not held here");
    const of = { tenantId: this.tenantId, ledgerId: this.controlLedgerId };
    const draft = draftSnapshot(crypto, of, this.#ledger.end(), this.#view);
    const [writes] = await Promise.all([snapshotRows(draft, signer), this.settled()]);
    // A start takes a snapshot of what is not there for a sign that records were lost.
    if (this.durableSize < draft.body.size) throw new Error("it is ahead of what is durable");
    await this.#record({ entries: [], writes }, [], undefined);
    return draft.contents.length;
  }

  /**
   * What is stored of this tenant contradicts itself: nothing more is written but that the next start walks
   * all of it, and refuses to serve it.
   */
  async condemn(why: string): Promise<void> {
    const error = new TenantFailed(`tenant ${this.tenantId}: ${why}`);
    this.#failure ??= error;
    await this.#handed;
    await this.#world.store
      .apply({
        tenant: this.tenantId,
        ownerEpoch: this.#ownerEpoch,
        expected: [],
        writes: [{ key: SNAPSHOT_KEY, value: null }],
        appends: [],
      })
      .catch(() => {
        // It could not be written either: that is said by whoever wrote before.
      });
    this.#onFailed(error);
  }

  /** For Tenants: the first record of a new tenant, with its row. */
  async create(request: RequestKey, draft: RequestDraft, rootKey: Uint8Array): Promise<Uint8Array> {
    const { signed, body } = this.controlGenesis;
    const row = { rootKey, genesis: signed, createdAtUs: body.createdAtUs };
    const writes = [{ key: TENANT_KEY, value: TenantRow.encode(row) }];
    const expected = [{ key: TENANT_KEY, version: 0 }];
    return this.#mutate(request, async () => ({ ...draft, writes }), expected);
  }

  async #mutate(
    request: RequestKey,
    prepare: () => Promise<RequestDraft>,
    expected: Command["expected"],
  ): Promise<Uint8Array> {
    const underWay = this.#requests.get(request.id);
    if (underWay !== undefined) {
      if (!equal(underWay.digest, request.digest)) throw reused(request);
      return underWay.answer;
    }
    const answer = this.exclusive(async () => {
      const earlier = await this.answered(request);
      if (earlier !== null) return { done: Promise.resolve(earlier) };
      const draft = await prepare();
      const bytes = draft.answer(this.#ledger.size + draft.entries.length);
      return {
        done: this.#record(draft, expected, { ...request, answer: bytes }).then(() => bytes),
      };
    }).then(({ done }) => done);
    this.#requests.set(request.id, { digest: request.digest, answer });
    try {
      return await answer;
    } finally {
      this.#requests.delete(request.id);
    }
  }

  async #record(
    draft: Draft,
    expected: Command["expected"],
    request: Command["request"],
  ): Promise<{ revision: number }> {
    if (this.#failure !== null) throw this.#failure;
    const atUs = this.nowUs();
    const asked = draft.asked ?? {};
    const chained = draft.entries.map((entry) => {
      const placed = this.#ledger.append(entry, asked, this.#ids, atUs);
      const { seq, leafHash } = placed;
      this.#view.apply(entry, { seq, leafHash, recordedAtUs: atUs });
      return placed;
    });
    const revision = this.#ledger.size;
    const chain = draft.entries.length > 0 ? this.#ledger.end().chain : null;
    const entries = draft.entries.map((e, i) => ({
      ...e,
      seq: (chained[i] as { seq: number }).seq,
    }));
    const untold = entries.filter((e) => e.what === "keyset" || e.what === "revocation").length;
    this.#untold += untold;
    const leases = entries.flatMap((e) => (e.what === "lease" ? [e] : []));
    const sealed = Promise.all(chained.map((c) => this.#ledger.seal(c)));

    // Commands reach the store in the order of the calls, without waiting for one another's flush.
    const handed = Promise.all([sealed, this.#handed]).then(([rows]) => ({
      durable: this.#world.store.apply({
        tenant: this.tenantId,
        ownerEpoch: this.#ownerEpoch,
        expected,
        writes: [
          ...leases.map(({ artifact, seq }) => ({
            key: LEASE_PREFIX + artifact.body.leaseId,
            value: LeaseRow.encode({ seq }),
          })),
          ...(draft.writes ?? []),
        ],
        appends: [
          ...rows.map((value, i) => ({
            log: LEDGER_LOG,
            seq: (chained[i] as { seq: number }).seq,
            value,
          })),
          ...(draft.appends ?? []),
        ],
        request,
      }),
    }));
    this.#handed = handed.catch(() => undefined);
    const durable = handed.then(({ durable }) => durable);
    this.#settled = durable.catch(() => undefined);
    try {
      const outcome = await durable;
      if (!outcome.applied) {
        throw new Error(`${outcome.conflict} at ${outcome.at}`);
      }
    } catch (cause) {
      throw this.#fail(cause);
    }
    if (chain !== null && chain.size > this.durableSize) {
      this.#durable = chain;
      this.#durableHead = null;
    }
    this.#untold -= untold;
    const event = { revision, atUs, entries, asked };
    for (const listener of this.#listeners) tell(listener, event);
    return { revision };
  }

  /** Memory has gone ahead of what is stored: nothing more may be built on it. */
  #fail(cause: unknown): Error {
    if (this.#failure === null) {
      const said = cause instanceof Error ? cause.message : String(cause);
      this.#failure = new TenantFailed(`tenant ${this.tenantId} cannot be written: ${said}`, {
        cause,
      });
      this.#onFailed(this.#failure);
    }
    return this.#failure;
  }
}

/** A listener that throws has a bug of its own; what was recorded is recorded, and the others hear it. */
function tell(listener: (event: RecordedEvent) => void, event: RecordedEvent): void {
  try {
    listener(event);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

const reused = (request: RequestKey): RequestReused =>
  new RequestReused(`request_id was used before for something else (${request.id})`);
