import type { Projection, Recordable } from "../../src/control/projection.ts";
import type { Alarm } from "../../src/domain/alarm.ts";
import { AlarmBody } from "../../src/domain/alarm.ts";
import type { Signer } from "../../src/domain/crypto.ts";
import { DIRECTIVE, DirectiveBody } from "../../src/domain/directive.ts";
import { DOCK, DockBody } from "../../src/domain/dock.ts";
import { GENESIS, GenesisBody } from "../../src/domain/genesis.ts";
import { GRANT, GrantBody } from "../../src/domain/grant.ts";
import { HEARTBEAT, HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { KEYSET, type KeyEntry, KeysetBody } from "../../src/domain/keyset.ts";
import { LEASE, LeaseBody } from "../../src/domain/lease.ts";
import { ManifestBody, manifestHash } from "../../src/domain/manifest.ts";
import { REVOCATION, RevocationBody } from "../../src/domain/revocation.ts";
import type { SignedKind, Verified } from "../../src/domain/signed.ts";
import { refOf, signBody } from "../../src/domain/signing.ts";
import { STATES, TRANSITION, TransitionBody } from "../../src/domain/transition.ts";
import { native } from "../../src/native/crypto.ts";
import type { Random } from "../fuzz/random.ts";
import { manifest, newSigner } from "./world.ts";

/** Random histories of a tenant: whatever a ledger may remember, in any order, sense or none. */

const TENANT = "acme";
const INSTANCES = ["ins_a", "ins_b", "ins_c", "ins_d"];
const NAMES = ["reconciler", "reporter", "reviewer"];
const signer = newSigner();

async function signed<T>(kind: SignedKind<T>, body: T): Promise<Verified<T>> {
  const envelope = await signBody(kind, body, [signer]);
  return { body, signed: envelope, ref: refOf(native, kind.name, envelope.body) };
}

export class Historian {
  readonly #random: Random;
  /** Keys that may sign the ledger. */
  readonly #ledgerKeys: readonly Signer[];
  readonly #view: Projection;
  readonly #leases: Verified<LeaseBody>[] = [];
  #made = 0;

  constructor(random: Random, ledgerKeys: readonly Signer[], view: Projection) {
    this.#random = random;
    this.#ledgerKeys = ledgerKeys;
    this.#view = view;
  }

  /** The next thing to record. The first keyset comes first. */
  async next(): Promise<Recordable> {
    this.#made++;
    if (this.#made === 1) return this.#keyset();
    const kinds = [
      () => this.#keyset(),
      () => this.#manifest(),
      () => this.#grant(),
      () => this.#dock(),
      () => this.#genesis(),
      () => this.#genesis(),
      () => this.#lease(),
      () => this.#lease(),
      () => this.#lease(),
      () => this.#revocation(),
      () => this.#revocation(),
      () => this.#transition(),
      () => this.#transition(),
      () => this.#heartbeat(),
      () => this.#alarm(),
      () => this.#other(),
    ];
    return this.#random.of(kinds)();
  }

  #any<T>(items: Iterable<T>): T | undefined {
    const all = [...items];
    return all.length === 0 ? undefined : this.#random.of(all);
  }

  /** Of something that is there or, now and then, that is not. */
  #refOf(items: Iterable<{ artifact: { ref: Uint8Array } }>): Uint8Array {
    const found = this.#random.oneIn(8) ? undefined : this.#any(items);
    return found?.artifact.ref ?? this.#random.bytes(32);
  }

  #ledgerId(): Uint8Array {
    const found = this.#random.oneIn(8) ? undefined : this.#any(this.#view.ledgers.values());
    return found?.ledgerId ?? this.#random.bytes(32);
  }

  async #keyset(): Promise<Recordable> {
    const key = this.#random.of(this.#ledgerKeys).publicKey;
    const entry: KeyEntry = {
      role: "CONTROL_LEDGER",
      key,
      notBeforeUs: this.#made,
      notAfterUs: 10_000,
      holder: "control",
      compromisedFromUs: 0,
      loginRole: "UNSPECIFIED",
    };
    const body: KeysetBody = {
      ...KeysetBody.empty(),
      version: 1,
      tenantId: TENANT,
      keysetVersion: this.#made,
      // One that names no such key leaves the ledger to the key before.
      keys: this.#made > 1 && this.#random.oneIn(3) ? [] : [entry],
      rootKey: this.#random.oneIn(2) ? this.#random.bytes(32) : new Uint8Array(0),
    };
    return { what: "keyset", artifact: await signed(KEYSET, body) };
  }

  #manifest(): Recordable {
    // Few of them, so that the same comes again.
    const body = manifest({ name: this.#random.of(NAMES) });
    const bytes = ManifestBody.encode(body);
    return { what: "manifest", artifact: { hash: manifestHash(native, bytes), bytes, body } };
  }

  async #grant(): Promise<Recordable> {
    const grantId = `grt_${this.#random.below(4)}`;
    const manifestHash = this.#any(this.#view.manifests.values())?.artifact.hash;
    const body = {
      ...GrantBody.empty(),
      version: 1,
      grantId,
      manifestHash: manifestHash ?? this.#random.bytes(32),
      issuedAtUs: this.#random.below(3),
    };
    return { what: "grant", artifact: await signed(GRANT, body) };
  }

  async #dock(): Promise<Recordable> {
    const grantRef = this.#refOf(this.#view.grants.values());
    const body = { ...DockBody.empty(), version: 1, dockId: `dck_${this.#made}`, grantRef };
    return { what: "dock", artifact: await signed(DOCK, body) };
  }

  async #genesis(): Promise<Recordable> {
    const body: GenesisBody = {
      ...GenesisBody.empty(),
      version: 1,
      role: "WORK",
      tenantId: TENANT,
      instanceId: this.#random.of(INSTANCES),
      dockRef: this.#refOf(this.#view.docks.values()),
      joinKey: new Uint8Array(32).fill(1 + this.#random.below(3)),
      nonce: this.#random.bytes(32),
    };
    return { what: "genesis", artifact: await signed(GENESIS, body) };
  }

  async #lease(): Promise<Recordable> {
    const again = this.#random.oneIn(8) ? this.#leases.at(-1) : undefined;
    if (again !== undefined) return { what: "lease", artifact: again };
    const leaseId = `lse_${this.#made}`;
    const body = { ...LeaseBody.empty(), version: 1, leaseId, ledgerId: this.#ledgerId() };
    const artifact = await signed(LEASE, body);
    this.#leases.push(artifact);
    return { what: "lease", artifact };
  }

  async #revocation(): Promise<Recordable> {
    const kind = this.#random.of([
      "LEASE",
      "LEASE",
      "LEASE",
      "GRANT",
      "KEY",
      "MANIFEST",
      "INSTANCE",
      "TENANT",
      "RESUME",
    ] as const);
    const none = new Uint8Array(0);
    const target = {
      // Any that ever was: the last of its ledger, one before it, or one of no ledger here.
      LEASE: this.#any(this.#leases)?.ref ?? this.#random.bytes(32),
      GRANT: this.#refOf(this.#view.grants.values()),
      KEY: this.#random.bytes(32),
      MANIFEST: this.#any(this.#view.manifests.values())?.artifact.hash ?? this.#random.bytes(32),
      INSTANCE: this.#ledgerId(),
      TENANT: none,
      RESUME: none,
    }[kind];
    const body: RevocationBody = {
      ...RevocationBody.empty(),
      version: 1,
      tenantId: TENANT,
      epoch: this.#view.revocations.length + 1,
      kind,
      target,
      effectiveUs: this.#made,
    };
    return { what: "revocation", artifact: await signed(REVOCATION, body) };
  }

  async #transition(): Promise<Recordable> {
    const ledger = this.#any(this.#view.ledgers.values());
    const body: TransitionBody = {
      ...TransitionBody.empty(),
      version: 1,
      transitionId: `trn_${this.#made}`,
      instanceId: ledger?.instanceId ?? "ins_x",
      ledgerId: ledger?.ledgerId ?? this.#random.bytes(32),
      to: this.#random.of(STATES),
    };
    return { what: "transition", artifact: await signed(TRANSITION, body) };
  }

  async #heartbeat(): Promise<Recordable> {
    const body = { ...HeartbeatBody.empty(), version: 1, ledgerId: this.#ledgerId() };
    return { what: "heartbeat", artifact: await signed(HEARTBEAT, body) };
  }

  async #alarm(): Promise<Recordable> {
    const { signed: genesis } = await signed(GENESIS, {
      ...GenesisBody.empty(),
      nonce: this.#random.bytes(32),
    });
    const kind = this.#random.of(["JOIN_KEY_SPENT", "REMEDIES_SPENT"] as const);
    const artifact: Alarm = {
      ...AlarmBody.empty(),
      version: 1,
      kind,
      dockRef: this.#refOf(this.#view.docks.values()),
      joinKey: new Uint8Array(32).fill(1 + this.#random.below(3)),
      genesis,
    };
    return { what: "alarm", artifact };
  }

  async #other(): Promise<Recordable> {
    const body = { ...DirectiveBody.empty(), version: 1, directiveId: `dir_${this.#made}` };
    return this.#random.of<Recordable>([
      { what: "head", artifact: `head ${this.#made}` },
      { what: "equivocation", artifact: this.#random.bytes(40) },
      { what: "directive", artifact: await signed(DIRECTIVE, body) },
    ]);
  }
}

/** Everything that a projection tells, in the order in which it does. */
export function everythingOf(view: Projection): unknown {
  // Whatever is added to it is compared as well.
  const { kept, transitions, heartbeats, ...told } = view;
  const fields = Object.entries(told).map(([name, value]) => [
    name,
    value instanceof Map ? [...value] : value,
  ]);
  return {
    fields,
    // Asked for by name alone.
    transitions,
    heartbeats,
    ledgersOf: INSTANCES.map((id) => view.ledgersOf(id)),
    named: NAMES.map((name) => [...view.instancesNamed(name)]),
    under: [...view.grants.values()].map(({ artifact: { ref } }) => [
      view.instancesUnder(ref),
      view.instancesMost(ref),
    ]),
    revoked: view.revocations.map(({ body: { kind, target } }) => view.revokedEpoch(kind, target)),
    kept: [kept.size, kept.seqs(), kept.digest(native)],
  };
}
