import { type Alarm, AlarmBody } from "../domain/alarm.ts";
import { equal, toHex } from "../domain/bytes.ts";
import { message, nested, repeated } from "../domain/canonical.ts";
import { DIRECTIVE, type DirectiveBody } from "../domain/directive.ts";
import { LivenessPolicy } from "../domain/grant.ts";
import type { HeartbeatBody } from "../domain/heartbeat.ts";
import { remediesFor } from "../domain/intake.ts";
import { restsUntilUs, type Step, step } from "../domain/lifecycle.ts";
import {
  directiveTtlUs,
  observedStoredUs,
  organismStoredUs,
  viewsOpenMax,
} from "../domain/limits.ts";
import { born, type Input, OrganismView } from "../domain/organism.ts";
import { SignedBytes, type Verified } from "../domain/signed.ts";
import { observing, observingAnew } from "../domain/suspicion.ts";
import { Interval, TRANSITION, type TransitionBody } from "../domain/transition.ts";
import type { TransitionDraft } from "../domain/transition-draft.ts";
import type { KeyWrite } from "../storage/control-store.ts";
import { Arena, type Cell } from "./arena.ts";
import { horizonUsOf } from "./horizon.ts";
import { OrganismRow, organismKey } from "./organism-row.ts";
import { type PackedView, PackedViews } from "./packed-view.ts";
import type { GrantRecord, LedgerRecord, Recordable } from "./projection.ts";
import type { RecordedEvent, Tenant } from "./tenant.ts";

const OBSERVER_KEY = "observer";
const ObserverRow = message("observerRow", { up: repeated(nested(1, Interval)) });

/** One organism as this control plane knows it. */
interface Organism {
  readonly instanceId: string;
  readonly view: PackedView;
  /** The last beat that was accepted, as it was signed: SignedBytes; none: none yet. */
  readonly beat: Cell;
  /** Whether that beat was recorded since the start; of before nobody knows. */
  isBeatRecorded: boolean;
  /** Drafted, in order, and not yet signed and recorded. */
  pending: (TransitionDraft | Recordable)[];
  /** Since when its row is behind what is known of it; 0: it is not. */
  behindUs: number;
  /** Until when the clock changes nothing about it, and until when as long as we do not listen. */
  restsUntilUs: number;
  restsUnheardUntilUs: number;
}

/**
 * The organisms of one tenant: feeds the pure machine, and records what it decides.
 *
 * A decision counts at once: whoever asks for the view sees it, so that no lease is cut after it. The
 * transition, the revocation and the directive that follow from it are signed and recorded together,
 * in order; watchers and sidecars hear of them when they are durable.
 */
export class Organisms {
  readonly #tenant: Tenant;
  readonly #organisms = new Map<string, Organism>();
  readonly #arena = new Arena();
  readonly #views = new PackedViews(this.#arena, viewsOpenMax);
  /** When this control plane listened. */
  #up: Interval[];
  #upStoredUs = 0;
  /** Others listened before us, and whoever was connected to them is not connected to us. */
  #isAnew: boolean;

  private constructor(tenant: Tenant, up: Interval[]) {
    this.#tenant = tenant;
    this.#up = up;
    this.#isAnew = up.length > 0;
  }

  /** Takes up what is stored. Nobody is attached yet. */
  static async open(tenant: Tenant): Promise<Organisms> {
    const observer = await tenant.get(OBSERVER_KEY);
    const up = observer === null ? [] : ObserverRow.decode(observer.value).up;
    const organisms = new Organisms(tenant, up);
    for (const ledger of tenant.instances()) {
      const { instanceId } = ledger;
      const stored = await tenant.get(organismKey(instanceId));
      const row = stored && OrganismRow.decode(stored.value);
      const beat = row === null || row.beat.length === 0 ? null : row.beat;
      organisms.#add(ledger, row && OrganismView.decode(row.view), beat);
    }
    for (const instanceId of organisms.#organisms.keys()) {
      const { attached, sessionEpoch } = organisms.view(instanceId).facts;
      organisms.#succeed(instanceId, organisms.#ledger(instanceId).manifestHash);
      organisms.#catchUp(instanceId);
      if (attached) {
        organisms.input(instanceId, { kind: "session", epoch: sessionEpoch, attached: false });
      }
    }
    tenant.subscribe((event) => organisms.#recorded(event));
    return organisms;
  }

  /** A lease that was recorded after the row was stored. */
  #catchUp(instanceId: string): void {
    const { lease } = this.#ledger(instanceId);
    if (lease === null || lease.revokedEpoch !== 0) return;
    const { ref } = lease.artifact;
    const { notAfterUs } = lease.terms;
    const { leaseRef } = this.view(instanceId).facts;
    if (equal(ref, leaseRef) || notAfterUs <= this.#tenant.nowUs()) return;
    this.input(instanceId, { kind: "lease", ref, untilUs: notAfterUs });
  }

  view(instanceId: string): OrganismView {
    return this.#organism(instanceId).view.get();
  }

  /** Since when this control plane listens without a break. */
  get listenedUs(): number {
    return (this.#isAnew ? undefined : this.#up.at(-1)?.fromUs) ?? this.#tenant.nowUs();
  }

  /** The last accepted beat; null: none yet. */
  beat(instanceId: string): SignedBytes | null {
    const beat = this.#organism(instanceId).beat.get();
    return beat === null ? null : SignedBytes.view(beat);
  }

  all(): IterableIterator<{
    readonly instanceId: string;
    readonly view: Pick<PackedView, "state" | "isAttached" | "isIll">;
  }> {
    return this.#organisms.values();
  }

  /**
   * Feeds the machine. `proof` is recorded before the transitions that follow from it. What changed
   * is durable when `durable` resolves; if that fails, the tenant fails. What passes by itself and
   * decides nothing (`mayWait`) is stored later, together with what follows it.
   */
  input(
    instanceId: string,
    input: Input,
    proof: readonly Recordable[] = [],
  ): Step & { durable: Promise<void> } {
    const organism = this.#organism(instanceId);
    // Whoever attaches is of its newest ledger; until then the one before may still beat.
    if (input.kind === "session" && input.attached)
      this.#succeed(instanceId, this.#ledger(instanceId).manifestHash);
    const taken = step(organism.view.get(), input, this.#tenant.nowUs());
    organism.pending.push(...proof);
    this.#take(organism, input, taken);
    const durable = this.#store(organism, mayWait(input, this.#tenant.nowUs()));
    return { ...taken, durable };
  }

  /**
   * An operator's command, for `mutation`: feeds the machine, and returns what to record. Under the
   * tenant's `exclusive`. Nothing changed when it was refused.
   */
  async command(
    instanceId: string,
    input: Input,
  ): Promise<Step & { entries: Recordable[]; writes: KeyWrite[] }> {
    const organism = this.#organism(instanceId);
    const taken = step(organism.view.get(), input, this.#tenant.nowUs());
    this.#take(organism, input, taken);
    const entries = taken.refused === null ? await this.#drain(organism) : [];
    if (taken.refused === null && input.kind === "stop") {
      entries.push(...(await this.#takeAuthority(organism, "STOP", input.order.reason, entries)));
    }
    // A lease may be earned again. No state changes by that alone, and the word must stand somewhere.
    if (taken.refused === null && input.kind === "release" && taken.transitions.length === 0) {
      entries.push(await this.#directive(organism, "RESYNC", input.order.reason));
    }
    return { ...taken, entries, writes: this.row(instanceId) };
  }

  /** The organism's row as it is now, to be written with whatever made it so. */
  row(instanceId: string): KeyWrite[] {
    const organism = this.#organism(instanceId);
    const { view, beat, pending } = organism;
    // A row must never be ahead of the transitions that led to it.
    if (pending.length > 0) return [];
    organism.behindUs = 0;
    const row = { view: view.bytes(), beat: beat.get() ?? NONE };
    return [{ key: organismKey(instanceId), value: OrganismRow.encode(row) }];
  }

  /** Tells a sidecar something that follows from no transition of now: once it is recorded. */
  direct(instanceId: string, kind: DirectiveBody["kind"], reason: string): Promise<void> {
    const organism = this.#organism(instanceId);
    return this.#exclusively(async () => [await this.#directive(organism, kind, reason)]);
  }

  /**
   * Sends the next remedy for what is treated: its sidecar is told once it is recorded. Resolves with the
   * directive's id; empty: its organism was not to be treated any more when it came to that.
   */
  async sendRemedy(instanceId: string): Promise<string> {
    const organism = this.#organism(instanceId);
    let directiveId = "";
    await this.#exclusively(async () => {
      // What was decided before it stands before it.
      const before = await this.#drain(organism);
      const { treated, directives, sinceUs } = organism.view.get();
      const kind = remediesFor(treated)[directives.length];
      if (kind === undefined) return before;
      const sent = await this.#directive(organism, kind, `${treated} persists`);
      const { ref, body } = sent.artifact;
      const input = { kind: "remedy", outcome: "SENT", directive: ref } as const;
      const view = organism.view.get();
      // While it was signed another treatment may have begun, of which it is no part.
      if (view.sinceUs !== sinceUs) return before;
      const taken = step(view, input, this.#tenant.nowUs());
      if (taken.refused !== null) return before;
      this.#take(organism, input, taken);
      directiveId = body.directiveId;
      // Time has passed, too: its organism may have come to its end.
      return [...before, sent, ...(await this.#drain(organism))];
    }, instanceId);
    return directiveId;
  }

  /**
   * A sign of our own life, and a look at the clock for everybody. At least once a second.
   * @param listens false: whoever has something to say may not get to say it, so that silence proves nothing.
   */
  tick(nowUs: number, listens: boolean): void {
    const before = this.#up.at(-1)?.fromUs;
    if (listens) {
      this.#up = this.#isAnew ? observingAnew(this.#up, nowUs) : observing(this.#up, nowUs);
      this.#isAnew = false;
    }
    const resumed = before !== this.#up.at(-1)?.fromUs;
    const writes: KeyWrite[] = [];
    for (const organism of this.#organisms.values()) {
      // After a break in which we did not listen nobody is known to be silent.
      const restsUs = listens ? organism.restsUntilUs : organism.restsUnheardUntilUs;
      if (resumed || nowUs >= restsUs) this.#look(organism);
      const { behindUs } = organism;
      if (behindUs > 0 && nowUs - behindUs >= organismStoredUs) {
        writes.push(...this.row(organism.instanceId));
      }
    }
    if (resumed || nowUs - this.#upStoredUs >= observedStoredUs) {
      this.#upStoredUs = nowUs;
      writes.push({ key: OBSERVER_KEY, value: ObserverRow.encode({ up: this.#up }) });
    }
    this.#write(writes);
  }

  /** Stores whatever waits to be. Durable once the tenant has settled. */
  storeAll(): void {
    const behind = [...this.#organisms.values()].filter((o) => o.behindUs > 0);
    this.#write(behind.flatMap(({ instanceId }) => this.row(instanceId)));
  }

  /** If it fails, the tenant has failed for good, and its owner is told so. */
  #write(writes: KeyWrite[]): void {
    if (writes.length > 0) this.#tenant.record({ entries: [], writes }).catch(() => {});
  }

  #look(organism: Organism): void {
    if (organism.view.state === "STOPPED") return;
    const input = { kind: "tick", up: this.#up } as const;
    const view = organism.view.get();
    const taken = step(view, input, this.#tenant.nowUs());
    if (taken.view === view) {
      rest(organism, view);
      return;
    }
    this.#take(organism, input, taken);
    void this.#store(organism, true);
  }

  /** The view as it is after a step; what was decided is drafted, behind the beats that it rests on. */
  #take(organism: Organism, input: Input, { view, transitions, refused }: Step): void {
    organism.view.set(view);
    rest(organism, view);
    const { beat, beatRef } = view.facts;
    const shown: Verified<HeartbeatBody>[] = [];
    if (input.kind === "beat") {
      // One that shows what cannot be is evidence, and not how things are.
      if (!equal(input.beat.ref, beatRef)) shown.push(input.beat);
      else if (refused === null) {
        organism.beat.set(SignedBytes.encode(input.beat.signed));
        organism.isBeatRecorded = false;
      }
    }
    if (transitions.length === 0) return;
    const last = organism.isBeatRecorded ? null : organism.beat.get();
    if (last !== null) {
      shown.push({ body: beat, signed: SignedBytes.view(last), ref: beatRef });
      organism.isBeatRecorded = true;
    }
    const beats = shown.map((artifact) => ({ what: "heartbeat", artifact }) as const);
    organism.pending.push(...beats, ...transitions);
  }

  /** Known from the moment that its ledger is decided on, before that is durable. */
  #organism(instanceId: string): Organism {
    return this.#organisms.get(instanceId) ?? this.#add(this.#ledger(instanceId), null, null);
  }

  #add(ledger: LedgerRecord, view: OrganismView | null, beat: Uint8Array | null): Organism {
    const { instanceId, manifestHash, openedAtUs } = ledger;
    const { liveness } = this.#grantOf(ledger).artifact.body;
    const fresh = born(manifestHash, liveness, openedAtUs);
    const horizonUs = Math.max(...this.#tenant.ledgersOf(instanceId).map(horizonUsOf));
    const kept = this.#arena.cell();
    if (beat !== null) kept.set(beat);
    const organism: Organism = {
      instanceId,
      view: this.#views.add(
        upTo(view === null ? fresh : { ...view, ...shared(view, fresh) }, horizonUs),
      ),
      beat: kept,
      isBeatRecorded: false,
      pending: [],
      behindUs: 0,
      restsUntilUs: 0,
      restsUnheardUntilUs: 0,
    };
    this.#organisms.set(instanceId, organism);
    return organism;
  }

  #recorded(event: RecordedEvent): void {
    for (const entry of event.entries) {
      if (entry.what !== "genesis") continue;
      const { instanceId } = entry.artifact.body;
      this.#succeed(instanceId, this.view(instanceId).manifestHash);
    }
  }

  /** A successor is the same organism, in the state that it was in; its dock may name another grant. */
  #succeed(instanceId: string, manifestHash: Uint8Array): void {
    const view = this.view(instanceId);
    const { liveness } = this.#grantOf(this.#ledger(instanceId)).artifact.body;
    if (isSame(view.liveness, liveness) && equal(view.manifestHash, manifestHash)) return;
    this.input(instanceId, { kind: "policy", liveness, manifestHash });
  }

  /** Now, or later where that may be and nothing was decided. If it fails, the tenant has failed for good. */
  #store(organism: Organism, mayWait: boolean): Promise<void> {
    if (mayWait && organism.pending.length === 0) {
      if (organism.behindUs === 0) organism.behindUs = this.#tenant.nowUs();
      return STORED_LATER;
    }
    const durable = this.#save(organism);
    // Its owner is told so.
    durable.catch(() => {});
    return durable;
  }

  async #save(organism: Organism): Promise<void> {
    if (organism.pending.length > 0) {
      await this.#exclusively(() => this.#drain(organism), organism.instanceId);
    } else {
      await this.#tenant.record({ entries: [], writes: this.row(organism.instanceId) });
    }
  }

  async #exclusively(prepare: () => Promise<Recordable[]>, instanceId?: string): Promise<void> {
    const { done } = await this.#tenant.exclusive(async () => {
      const entries = await prepare();
      if (entries.length === 0) return { done: this.#tenant.settled() };
      const writes = instanceId === undefined ? [] : this.row(instanceId);
      return { done: this.#tenant.record({ entries, writes }) };
    });
    await done;
  }

  /** Signs everything drafted so far, with what follows from it. Under `exclusive`. */
  async #drain(organism: Organism): Promise<Recordable[]> {
    const entries: Recordable[] = [];
    for (const pending of organism.pending.splice(0)) {
      if ("what" in pending) {
        entries.push(pending);
        continue;
      }
      const { tenantId } = this.#tenant;
      const { instanceId } = organism;
      const body = {
        ...pending,
        version: 1,
        transitionId: this.#tenant.newId("trn"),
        tenantId,
        instanceId,
        ledgerId: this.#ledger(instanceId).ledgerId,
      };
      const transition = await this.#tenant.issue(TRANSITION, body);
      entries.push({ what: "transition", artifact: transition });
      const { cause, condition } = pending;
      const why =
        pending.reason || (condition === "UNSPECIFIED" ? cause : `${cause}: ${condition}`);
      if (pending.to === "QUARANTINED") {
        entries.push(...(await this.#takeAuthority(organism, "QUARANTINE", why, entries)));
      } else if (pending.to === "STOPPED") {
        entries.push(...(await this.#takeAuthority(organism, "STOP", why, entries)));
      } else if (pending.from === "QUARANTINED") {
        entries.push(await this.#directive(organism, "RELEASE", why));
      }
      if (cause === "REMEDIES_SPENT") entries.push({ what: "alarm", artifact: callOf(transition) });
    }
    return entries;
  }

  /**
   * Tells the sidecar, and takes back the lease that it holds, if any. In this order: what is cut is cut
   * by the word that says why. What is about to be recorded with it counts already: of one lease, and
   * under one epoch, there is one revocation.
   */
  async #takeAuthority(
    organism: Organism,
    kind: "QUARANTINE" | "STOP",
    reason: string,
    before: readonly Recordable[],
  ): Promise<Recordable[]> {
    const entries: Recordable[] = [await this.#directive(organism, kind, reason)];
    const { lease } = this.#ledger(organism.instanceId);
    const isTaken = before.some((e) => e.what === "revocation");
    const holds = !isTaken && lease !== null && lease.revokedEpoch === 0;
    if (holds && this.#tenant.nowUs() < lease.terms.notAfterUs) {
      const target = lease.artifact.ref;
      const artifact = await this.#tenant.issueRevocation({ target, reason });
      entries.push({ what: "revocation", artifact });
    }
    return entries;
  }

  async #directive(
    { instanceId, view }: Organism,
    kind: DirectiveBody["kind"],
    reason: string,
  ): Promise<Recordable & { what: "directive" }> {
    const issuedAtUs = this.#tenant.nowUs();
    const artifact = await this.#tenant.issue(DIRECTIVE, {
      version: 1,
      directiveId: this.#tenant.newId("dir"),
      tenantId: this.#tenant.tenantId,
      instanceId,
      ledgerId: this.#ledger(instanceId).ledgerId,
      sessionEpoch: view.get().facts.sessionEpoch,
      kind,
      issuedAtUs,
      expiresAtUs: issuedAtUs + directiveTtlUs,
      reason,
    });
    return { what: "directive", artifact };
  }

  #grantOf({ grantRef, ledgerId }: LedgerRecord): GrantRecord {
    const grant = this.#tenant.grant(grantRef);
    if (grant === null) throw new Error(`ledger ${toHex(ledgerId)} has no grant`);
    return grant;
  }

  #ledger(instanceId: string): LedgerRecord {
    const ledger = this.#tenant.instance(instanceId);
    if (ledger === null) throw new Error(`organism ${instanceId} has no ledger`);
    return ledger;
  }
}

/** Until when it need not be looked at; whoever must be looked at again and again is left open. */
function rest(organism: Organism, view: OrganismView): void {
  organism.restsUntilUs = restsUntilUs(view, true);
  organism.restsUnheardUntilUs = restsUntilUs(view, false);
  organism.view.isLeftOpen = organism.restsUntilUs === 0 && view.state !== "STOPPED";
}

const STORED_LATER: Promise<void> = Promise.resolve();
const NONE = new Uint8Array(0);

/**
 * Whether a crash may forget it. A beat comes again, sessions end with us and are numbered anew above all of
 * ours, and of a lease the ledger itself tells. What takes away is never forgotten.
 */
const mayWait = (input: Input, nowUs: number): boolean =>
  input.kind === "beat" ||
  input.kind === "session" ||
  (input.kind === "lease" && input.untilUs > nowUs);

/** A call to operators, whatever they watch: this one needs them. */
const callOf = ({ signed }: Verified<TransitionBody>): Alarm => ({
  ...AlarmBody.empty(),
  version: 1,
  kind: "REMEDIES_SPENT",
  transition: signed,
});

/** What a view that was stored has in common with a new one, as the new one has it. */
function shared(stored: OrganismView, { liveness }: OrganismView): Partial<OrganismView> {
  return isSame(stored.liveness, liveness) ? { liveness } : {};
}

const isSame = (a: LivenessPolicy, b: LivenessPolicy): boolean =>
  a === b || equal(LivenessPolicy.encode(a), LivenessPolicy.encode(b));

/** What may have been leased before we ended, and was not recorded. */
function upTo(view: OrganismView, horizonUs: number): OrganismView {
  const { facts } = view;
  const leaseHorizonUs = Math.max(facts.leaseHorizonUs, horizonUs);
  return { ...view, facts: { ...facts, leaseHorizonUs } };
}
