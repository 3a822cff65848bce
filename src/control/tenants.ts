import { equal, toHex } from "../domain/bytes.ts";
import type { Signer } from "../domain/crypto.ts";
import { GENESIS } from "../domain/genesis.ts";
import type { IdGenerator } from "../domain/ids.ts";
import { isInvalid } from "../domain/invalid.ts";
import type { KeysetBody } from "../domain/keyset.ts";
import type { Verified } from "../domain/signed.ts";
import { openSigned, refOf } from "../domain/signing.ts";
import { idGenerator } from "../native/ids.ts";
import { LookBack } from "./look-back.ts";
import { type LedgerRecord, Projection, type Recordable } from "./projection.ts";
import { type Replayed, replay } from "./replay.ts";
import { Snapshots } from "./snapshots.ts";
import {
  LEDGER_LOG,
  RESTORED_KEY,
  type RequestKey,
  RestoredRow,
  TENANT_KEY,
  Tenant,
  TenantFailed,
  TenantRow,
  type TenantWorld,
} from "./tenant.ts";
import { KEY_FILES, keysOfRole, type OurRole, type TenantKeys } from "./tenant-keys.ts";
import { type Asked, controlGenesis, TenantLedger } from "./tenant-ledger.ts";

/** Names read at once while loading. */
const LOAD_PAGE = 512;

/** All tenants of this control plane. */
export class Tenants {
  readonly #world: TenantWorld;
  readonly #tenants = new Map<string, Tenant>();
  readonly #creating = new Map<string, Promise<Uint8Array>>();
  readonly #failed = Promise.withResolvers<Error>();
  readonly #snapshots = new Map<string, Snapshots>();
  /** What no start has walked yet, of those that began from a snapshot. */
  readonly #behind = new Map<string, LookBack>();

  private constructor(world: TenantWorld) {
    this.#world = world;
  }

  /**
   * Takes every tenant over and replays its ledger, from its snapshot if it has one that fits.
   * @throws when a ledger does not verify, or a key is missing: nothing may be served then.
   */
  static async open(world: TenantWorld): Promise<Tenants> {
    const tenants = new Tenants(world);
    for (let after = ""; ; ) {
      const names = await world.store.tenants({ after, limit: LOAD_PAGE });
      for (const name of names) await tenants.#load(name);
      if (names.length < LOAD_PAGE) return tenants;
      after = names.at(-1) as string;
    }
  }

  /** Resolves with the reason when a tenant failed: the process must end. */
  get failed(): Promise<Error> {
    return this.#failed.promise;
  }

  get(tenantId: string): Tenant | null {
    return this.#tenants.get(tenantId) ?? null;
  }

  /** Sorted by id. */
  all(): Tenant[] {
    return [...this.#tenants.values()].sort((a, b) => (a.tenantId < b.tenantId ? -1 : 1));
  }

  /** A ledger, whosever it is: for those who can prove that they hold its key. */
  findLedger(ledgerId: Uint8Array): { tenant: Tenant; ledger: LedgerRecord } | null {
    for (const tenant of this.#tenants.values()) {
      const ledger = tenant.ledger(ledgerId);
      if (ledger !== null) return { tenant, ledger };
    }
    return null;
  }

  /** Makes the control plane's keys for a tenant, or finds them. */
  prepare(tenantId: string): Promise<TenantKeys> {
    return this.#world.keyring.prepare(tenantId);
  }

  /** Makes the next key of a role, or finds the one that no keyset names yet. */
  async prepareNext(tenant: Tenant, role: OurRole): Promise<Uint8Array> {
    const { keyring } = this.#world;
    const keys = await keyring.prepareNext(tenant.tenantId, role, tenant.keyset().body);
    tenant.holdKeys(keys);
    const next = keysOfRole(keys, role).at(-1) as Signer;
    return next.publicKey;
  }

  /**
   * Makes a tenant with its first keyset. Returns the answer, the first one if this very request made
   * it before; null when another request did.
   * The caller has verified the keyset, and that it names the keys of `prepare`.
   */
  async create(
    what: { rootKey: Uint8Array; keyset: Verified<KeysetBody>; asked: Asked },
    request: RequestKey,
    answer: (revision: number) => Uint8Array,
  ): Promise<Uint8Array | null> {
    const { tenantId } = what.keyset.body;
    for (let other = this.#creating.get(tenantId); other; other = this.#creating.get(tenantId)) {
      await other.catch(() => undefined);
    }
    const existing = this.#tenants.get(tenantId);
    if (existing !== undefined) return existing.answered(request);
    const making = this.#make(what, request, answer);
    this.#creating.set(tenantId, making);
    try {
      return await making;
    } finally {
      this.#creating.delete(tenantId);
    }
  }

  /** Everything decided so far, in every tenant, is durable. */
  async settled(): Promise<void> {
    await Promise.all(this.all().map((t) => t.settled()));
  }

  /**
   * Walks what starts from snapshots left out, one tenant after another, beside the work: what does not
   * follow fails its tenant. Resolves when all was walked; never, once closed.
   */
  async lookBack(): Promise<void> {
    try {
      for (const [tenantId, behind] of this.#behind) {
        const problem = await behind.run();
        if (problem !== null) await this.#tenants.get(tenantId)?.condemn(problem.detail);
      }
    } catch (error) {
      // What cannot be read is as bad as what does not follow.
      this.#failed.resolve(error as Error);
    }
  }

  /** Everything decided so far is durable, and the next start has little to walk. Nothing is looked back at. */
  async close(): Promise<void> {
    for (const behind of this.#behind.values()) behind.close();
    await this.settled();
    await Promise.all([...this.#snapshots.values()].map((s) => s.close()));
  }

  async #make(
    what: { rootKey: Uint8Array; keyset: Verified<KeysetBody>; asked: Asked },
    request: RequestKey,
    answer: (revision: number) => Uint8Array,
  ): Promise<Uint8Array> {
    const { tenantId } = what.keyset.body;
    const { crypto, clock, random, store, keyring } = this.#world;
    const keys = await keyring.open(tenantId);
    const genesis = await controlGenesis(crypto, {
      tenantId,
      signer: keys.controlLedger[0] as Signer,
      nonce: random(32),
      nowUs: clock.nowUs(),
    });
    const tenant = new Tenant({
      world: this.#world,
      ownerEpoch: await store.own(tenantId),
      rootKey: what.rootKey,
      genesis,
      keys,
      ledger: new TenantLedger(crypto, genesis, keys.controlLedger, random),
      view: new Projection(),
      ids: this.#ids(undefined),
      restored: RestoredRow.empty(),
      onFailed: (error) => this.#failed.resolve(error),
    });
    const entries: Recordable[] = [{ what: "keyset", artifact: what.keyset }];
    const draft = { entries, asked: what.asked, answer };
    const answered = await tenant.create(request, draft, what.rootKey);
    this.#keep(tenant, null);
    return answered;
  }

  #ids(above: string | undefined): IdGenerator {
    return idGenerator({ nowMs: () => Math.floor(this.#world.clock.nowUs() / 1000), above });
  }

  async #load(tenantId: string): Promise<void> {
    const { crypto, store, keyring } = this.#world;
    const row = await store.get(tenantId, TENANT_KEY);
    // Owned and never made: a process ended between the two.
    if (row === null) return;
    const { rootKey, genesis: signed } = TenantRow.decode(row.value);
    const opened = openSigned(crypto, GENESIS, signed);
    if (isInvalid(opened)) throw new TenantFailed(`tenant ${tenantId}: ${opened.detail}`);
    const genesis = { body: opened.body, signed, ref: refOf(crypto, "genesis", signed.body) };
    const keys = await keyring.open(tenantId);
    const ownerEpoch = await store.own(tenantId);
    const replayed = await replay({ world: this.#world, genesis, keys });
    const { ledger, view } = replayed;
    const restored = await store.get(tenantId, RESTORED_KEY);
    if (ledger.signer === null) {
      throw new TenantFailed(
        `tenant ${tenantId}: ${toHex(ledger.signerKey)}, which signs the tenant's ledger, is none of the keys in ` +
          `${tenantId}/control-ledger*.seed; put the file back that was there`,
      );
    }
    if (view.keyset !== null) areNamed(tenantId, view.keyset, keys);
    const tenant = new Tenant({
      world: this.#world,
      ownerEpoch,
      rootKey,
      genesis,
      keys,
      ledger,
      view,
      ids: this.#ids(replayed.lastReceiptId),
      restored: restored === null ? RestoredRow.empty() : RestoredRow.decode(restored.value),
      onFailed: (error) => this.#failed.resolve(error),
    });
    this.#keep(tenant, replayed.begun);
  }

  /** `begun`: where the snapshot ends that it was started from, of which nothing was walked. */
  #keep(tenant: Tenant, begun: Replayed["begun"]): void {
    const { crypto, clock, say } = this.#world;
    const { tenantId, controlLedgerId: ledgerId } = tenant;
    this.#tenants.set(tenantId, tenant);
    this.#snapshots.set(tenantId, new Snapshots(tenant, begun?.seq ?? 0, say));
    if (begun === null) return;
    const read = (from: number, limit: number) => tenant.read(LEDGER_LOG, from, limit);
    this.#behind.set(tenantId, new LookBack({ crypto, clock, ledgerId, read }, begun));
  }
}

/**
 * Keys on disk that the keyset does not know were exchanged behind its back, or restored from another
 * time: what they sign would be refused everywhere. That ours have expired is no reason not to start:
 * the next keyset comes through us.
 */
function areNamed(tenantId: string, keyset: Verified<KeysetBody>, keys: TenantKeys): void {
  // Of the tenant ledger's key the chain itself has told.
  for (const role of ["ISSUER", "COSIGNER"] as const) {
    const name = KEY_FILES[role];
    const ours = keysOfRole(keys, role);
    const isNamed = ours.some((s) =>
      keyset.body.keys.some((k) => k.role === role && equal(k.key, s.publicKey)),
    );
    if (isNamed) continue;
    throw new TenantFailed(
      `tenant ${tenantId}: keyset ${keyset.body.keysetVersion} names none of the ${role} keys in ${tenantId}/${name}*.seed ` +
        `(${ours.map((s) => toHex(s.publicKey)).join(", ")}); put the file back that was there. Keys are exchanged with: dragons key rotate ${name}`,
    );
  }
}
