import type { BlockTree } from "../domain/block-tree.ts";
import { toHex } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";
import { observeEveryUs, waitedLongUs } from "../domain/limits.ts";
import type { Clock, Timer } from "../native/clock.ts";
import { ARRIVALS, type Arrival, type ArrivalLog, HeldLedger } from "./heads.ts";
import { Issuer } from "./issuer.ts";
import { Organisms } from "./organisms.ts";
import type { LedgerRecord } from "./projection.ts";
import { treeOf } from "./record-stream.ts";
import { Remedies } from "./remedies.ts";
import type { ControlServer } from "./server.ts";
import { Sessions } from "./sessions.ts";
import type { Tenant } from "./tenant.ts";
import type { Tenants } from "./tenants.ts";
import { Signal, WatchHub } from "./watch.ts";
import { postText } from "./witness-post.ts";
import { TenantWitnesses, type WitnessParts } from "./witnesses.ts";

export interface FleetParts {
  readonly tenants: Tenants;
  readonly crypto: Crypto;
  readonly clock: Clock;
  /** Strong random bytes. */
  readonly random: (n: number) => Uint8Array;
  /** Outside witnesses of each tenant's ledger; none: nobody is asked. */
  readonly witnessing?: Pick<WitnessParts, "witnesses" | "post" | "say">;
}

type Door = Pick<ControlServer, "waitedUs">;

const NOBODY = { witnesses: [], post: postText, say: () => {} };
const asked = ({ witnessing }: FleetParts) => witnessing ?? NOBODY;

/** The governed organisms of one tenant: who they are, what is held of them, who is attached. */
export class TenantFleet {
  readonly tenant: Tenant;
  readonly organisms: Organisms;
  readonly issuer: Issuer;
  readonly sessions: Sessions;
  readonly remedies: Remedies;
  readonly watch: WatchHub;
  readonly witnesses: TenantWitnesses;
  /** Of the tenant's own ledger. */
  readonly tree: BlockTree;
  /** Instances whose pulse changed. */
  readonly pulse = new Signal<string>();
  /** Receipts as they are held. */
  readonly arrived = new Signal<Arrival>();
  readonly #crypto: Crypto;
  readonly #held = new Map<string, Promise<HeldLedger>>();
  readonly #arrivals: ArrivalLog;

  private constructor(
    tenant: Tenant,
    { crypto, clock, random }: FleetParts,
    organisms: Organisms,
    witnesses: TenantWitnesses,
    tree: BlockTree,
    arrivals: number,
  ) {
    this.tenant = tenant;
    this.tree = tree;
    this.witnesses = witnesses;
    this.organisms = organisms;
    this.#crypto = crypto;
    this.issuer = new Issuer(tenant, crypto, organisms);
    // Sessions hear of what is recorded before watchers do: enforcement before visibility.
    this.sessions = new Sessions({
      tenant,
      crypto,
      random,
      clock,
      organisms,
      issuer: this.issuer,
      onPulse: (instanceId) => this.pulse.tell(instanceId),
    });
    this.remedies = new Remedies(tenant, organisms);
    this.watch = new WatchHub(tenant, crypto, clock);
    let last = arrivals;
    this.#arrivals = { next: () => ++last, publish: (arrival) => this.arrived.tell(arrival) };
  }

  static async open(tenant: Tenant, parts: FleetParts): Promise<TenantFleet> {
    const organisms = await Organisms.open(tenant);
    const tree = treeOf(parts.crypto, tenant);
    const witnesses = await TenantWitnesses.open(tenant, { ...parts, ...asked(parts), tree });
    return new TenantFleet(tenant, parts, organisms, witnesses, tree, await tenant.size(ARRIVALS));
  }

  /** What is held of a ledger of this tenant. */
  held(record: LedgerRecord): Promise<HeldLedger> {
    const key = toHex(record.ledgerId);
    const known = this.#held.get(key);
    if (known !== undefined) return known;
    const opened = HeldLedger.open(this.tenant, this.#crypto, record, this.#arrivals);
    this.#held.set(key, opened);
    return opened;
  }
}

/** All organisms of this control plane, and the clock that watches over them. */
export class Fleet {
  readonly parts: FleetParts;
  readonly #tenants = new Map<string, Promise<TenantFleet>>();
  readonly #opened: TenantFleet[] = [];
  readonly #closing = new AbortController();
  #door: Door | null = null;
  #timer: Timer | null = null;

  private constructor(parts: FleetParts) {
    this.parts = parts;
  }

  /** Takes up the organisms of every tenant, and begins to watch the clock. */
  static async open(parts: FleetParts): Promise<Fleet> {
    const fleet = new Fleet(parts);
    for (const tenant of parts.tenants.all()) await fleet.of(tenant);
    fleet.#watchClock();
    return fleet;
  }

  /** Also for a tenant that was made since. */
  of(tenant: Tenant): Promise<TenantFleet> {
    const known = this.#tenants.get(tenant.tenantId);
    if (known !== undefined) return known;
    const opened = TenantFleet.open(tenant, this.parts).then((fleet) => {
      this.#opened.push(fleet);
      if (asked(this.parts).witnesses.length > 0) fleet.witnesses.start();
      return fleet;
    });
    this.#tenants.set(tenant.tenantId, opened);
    return opened;
  }

  /** Aborts when the control plane ends: streams that would live for ever must end with it. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /**
   * By what sidecars come. While somebody waits there for long nobody is known to be silent: whoever was heard
   * of last a while ago may stand behind them. What leases allow ends by the clock, whoever waits.
   * @param door tells for how long whoever comes next has waited by now, in microseconds; 0: nobody waits.
   */
  listensAt(door: Door): void {
    this.#door = door;
  }

  /** Stops looking at the clock, and sends everybody away who is attached or watches. */
  close(): void {
    this.#timer?.cancel();
    for (const { watch, sessions, witnesses } of this.#opened) {
      witnesses.close();
      watch.close();
      sessions.end();
    }
    this.#closing.abort();
  }

  /** Stores what is known of every organism. After `close`, once nobody is attached. */
  storeAll(): void {
    for (const { organisms } of this.#opened) organisms.storeAll();
  }

  #watchClock(): void {
    const nowUs = this.parts.clock.nowUs();
    const listens = (this.#door?.waitedUs() ?? 0) < waitedLongUs;
    for (const { organisms, remedies } of this.#opened) {
      organisms.tick(nowUs, listens);
      remedies.tick(nowUs);
    }
    this.#timer = this.parts.clock.after(observeEveryUs, () => this.#watchClock());
  }
}
