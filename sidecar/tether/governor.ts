import type { Signer } from "../../src/domain/crypto.ts";
import type { DirectiveBody } from "../../src/domain/directive.ts";
import { fitHeartbeat, type HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { newId } from "../../src/domain/ids.ts";
import { isInvalid } from "../../src/domain/invalid.ts";
import { type LeaseBody, LeaseBody as LeaseCodec } from "../../src/domain/lease.ts";
import { clockLookUs } from "../../src/domain/limits.ts";
import type { Progress } from "../../src/domain/progress.ts";
import { REASONS, type Reason } from "../../src/domain/reason.ts";
import type { RevocationBody } from "../../src/domain/revocation.ts";
import type { Verified } from "../../src/domain/signed.ts";
import type { Timer } from "../../src/native/clock.ts";
import { native } from "../../src/native/crypto.ts";
import { idGenerator } from "../../src/native/ids.ts";
import type { Jump, SteadyClock } from "../../src/native/steady-clock.ts";
import { Drift } from "../agent/drift.ts";
import type { Attended } from "../agent/launch.ts";
import type { AuthorityHolder } from "../gate/authority.ts";
import type { HeldAuthority } from "../identity/held-authority.ts";
import type { Latch } from "../identity/latch.ts";
import type { LeaseLog } from "../identity/lease-log.ts";
import { lifecycleDraft } from "../ledger/lifecycle.ts";
import type { WorkLedger } from "../ledger/work-ledger.ts";
import { type Report, reportObserving } from "../report.ts";
import { BeatMemory } from "./beat-memory.ts";
import { CosignedHeads } from "./cosigned.ts";
import { heartbeat } from "./heartbeat.ts";
import { spentUnder } from "./spent.ts";
import type { Leaving } from "./sync.ts";
import { type BeatOf, startTether, type Tether, type TetherClient } from "./tether.ts";

export interface GovernorParts {
  readonly client: TetherClient;
  readonly authority: HeldAuthority;
  readonly holder: AuthorityHolder;
  readonly ledger: WorkLedger;
  readonly ledgerSigner: Signer;
  /** What leaves of each receipt. */
  readonly leaving: Leaving;
  readonly leases: LeaseLog;
  readonly latch: Latch;
  readonly progress: Progress;
  /** Body bytes that actions still open in a scope have passed. */
  readonly passing: (scope: string) => number;
  readonly clock: SteadyClock;
  readonly report: Report;
  /** As measured when this process began. */
  readonly manifestHash: Uint8Array;
  /** manifest_hash of the agent's files as they are now. Rejects when they cannot be measured. */
  readonly measure: () => Promise<Uint8Array>;
  readonly agent: () => Attended | null;
  /** Whether the agent could go round the sidecar. */
  readonly enforcement: HeartbeatBody["enforcement"];
  /** What must be kept cannot be: nothing more may be promised. */
  readonly storageFailed: (error: Error) => void;
}

/**
 * Holds the tether and lets what comes down it govern the gate: leases are adopted, revocations and
 * directives take authority away, drift does so from here. It reports; it never decides an action.
 */
export class Governor {
  tether: Tether | null = null;
  /** What it beat with, and the notes that came back. */
  readonly memory = new BeatMemory();
  readonly #parts: GovernorParts;
  readonly #firstLease = Promise.withResolvers<"MEASURED" | "DRIFTED">();
  readonly #ids = idGenerator();
  #results: HeartbeatBody["directiveResults"] = [];
  readonly #drift: Drift;
  readonly #heads: CosignedHeads;
  #watching: Timer | null = null;
  /**
   * When the beat before the last was made, by the monotonic clock. A lease answers the last beat or
   * that one: its length counts from there, so that one held up on its way gains nothing.
   */
  #beatBefore: number;
  #lastBeat: number;
  /** Arrived, and yet to begin by our clock. */
  #next: Verified<LeaseBody> | null = null;
  /** Of the keyset in hand. */
  #keysetVersion: number;
  /** Of the lease adopted last, restarts included; 0: none was. */
  #leaseSeq: number;

  constructor(parts: GovernorParts) {
    this.#parts = parts;
    const { holder, latch } = parts;
    const latched = latch.now.drifted;
    this.#drift = new Drift({ ...parts, latched, drifted: () => this.beatNow() });
    holder.set({ drifted: latched !== null, quarantined: latch.now.quarantined });
    holder.onChange(() => this.#keepLatch());
    const last = parts.leases.entries().at(-1);
    const kept = last === undefined ? LeaseCodec.empty() : LeaseCodec.decode(last.body);
    this.#leaseSeq = kept.leaseSeq;
    this.#keysetVersion = parts.authority.keyset.body.keysetVersion;
    // The high-water mark of time, kept with every lease: signed, so that no clock's error is kept.
    parts.clock.atLeast(kept.issuedAtUs);
    this.#lastBeat = parts.clock.monotonicUs();
    this.#beatBefore = this.#lastBeat;
    this.#heads = new CosignedHeads(native, parts.ledger.ledgerId, parts.ledgerSigner);
  }

  /** Resolves when authority is held for the first time, with what the files measured as just then. */
  get firstLease(): Promise<"MEASURED" | "DRIFTED"> {
    return this.#firstLease.promise;
  }

  start(): void {
    const { authority, clock, client, holder, ledger, ledgerSigner, report } = this.#parts;
    reportObserving(report, authority.grant.body, clock.nowUs());
    clock.onJump((jump) => this.#jumped(jump));
    this.#watchClock();
    this.tether = startTether({
      authority,
      client,
      clock,
      ledger,
      ledgerSigner,
      leaving: this.#parts.leaving,
      lastLease: () => this.#parts.leases.entries().at(-1) ?? null,
      leaseLeft: () => holder.leaseLeft,
      standing: () => {
        const { quarantined, stopped, drifted } = holder.standing;
        return { quarantined, stopped, drifted };
      },
      chance: Math.random,
      beat: (session) => this.#beat(session),
      events: {
        attached: (epoch) => {
          // No beat from before this session asks for a lease of it.
          this.#lastBeat = clock.monotonicUs();
          this.#beatBefore = this.#lastBeat;
          report("attached", { session: epoch });
        },
        failed: (error) => this.#parts.storageFailed(error),
        refused: (why, reason) => {
          // Nothing else would tell it: directives come to those that are attached.
          if (reason === "REGRESS") holder.set({ quarantined: true });
          report("not attached", { why });
        },
        detached: (why) => report("detached", { why }),
        lease: (lease) => this.#adopt(lease),
        keyset: ({ body }) => this.#rekeyed(body.keysetVersion),
        revocation: (revocation) => this.#revoked(revocation),
        directive: (directive) => this.#obey(directive),
        beaten: (signed) => this.memory.beaten(signed),
        cosigned: (note) => void this.#cosigned(note),
        withheld: (code, detail) => {
          const reason = REASONS[code] ?? String(code);
          // Revoked may be one that was lost on its way, whose predecessor is in hand.
          if (reason === "LEASE_REVOKED" && holder.lease !== null) holder.revoke();
          report("no lease", { reason, detail });
        },
        rejected: (what, detail) =>
          report("rejected", {
            what,
            detail,
          }),
      },
    });
  }

  /** Something happened that the control plane should hear of before the next beat is due. */
  beatNow(): void {
    this.tether?.beatNow();
  }

  /** Another agent is at work, or is about to be: what the last one did is not held against it. */
  agentChanged(): void {
    this.#parts.progress.anew();
    this.beatNow();
  }

  /** Some file of the agent may have changed. */
  filesChanged(): void {
    this.#drift.changed();
  }

  async stop(): Promise<void> {
    this.#drift.close();
    this.#watching?.cancel();
    await this.tether?.stop();
  }

  #keepLatch(): void {
    const { holder, latch, storageFailed } = this.#parts;
    const { drifted, quarantined } = holder.standing;
    try {
      latch.keep({ drifted: drifted ? this.#drift.measured : null, quarantined });
    } catch (error) {
      storageFailed(error as Error);
    }
  }

  #watchClock(): void {
    const { clock } = this.#parts;
    clock.look();
    this.#watching = clock.after(clockLookUs, () => this.#watchClock());
  }

  /**
   * The machine slept, or its clock was set. What has run out by that ends now. A clock that was set
   * is not to be believed by its own word, so a signed time is asked for: the next session's lease.
   */
  #jumped({ what, byUs }: Jump): void {
    const { holder, report } = this.#parts;
    const seconds = Math.round(byUs / 1e6);
    this.#note(what === "suspended" ? "suspended" : "clock-set", `${seconds} s`);
    report(what === "suspended" ? "suspended" : "clock set", { seconds });
    holder.look();
    if (what === "set") this.tether?.attachAnew(`the clock was set by ${seconds} s`);
    else this.beatNow();
  }

  /** A LIFECYCLE receipt of what the sidecar itself saw. */
  #note(event: string, particulars: string, reason: Reason = "UNSPECIFIED"): void {
    const { clock, ledger, manifestHash } = this.#parts;
    ledger.record({ ...lifecycleDraft(event, particulars, manifestHash, clock.nowUs()), reason });
  }

  #adopt(lease: Verified<LeaseBody>): void {
    const { authority, clock, holder, leases, report } = this.#parts;
    const { leaseId, leaseSeq, notBeforeUs, sessionEpoch } = lease.body;
    const earlyUs = notBeforeUs - clock.nowUs();
    if (earlyUs > 0) {
      // Our clock is a little behind its issuer's. Until it begins, the one in hand goes on: taken
      // over now, it would cut every stream.
      this.#next = lease;
      clock.after(earlyUs, () => {
        if (sessionEpoch !== this.tether?.sessionEpoch) return;
        // Meanwhile it may have been taken back, or a key that it rests on given up.
        const judged = authority.verifyLease(lease.signed, clock.nowUs());
        if (isInvalid(judged)) report("rejected", { what: "lease", detail: judged.detail });
        else this.#adopt(judged);
      });
      return;
    }
    this.#next = null;
    // An older one would take the place of what followed it; a second of one number, each signed,
    // would make our own evidence speak against us.
    if (leaseSeq <= this.#leaseSeq) {
      const detail = `number ${leaseSeq} comes after number ${this.#leaseSeq}`;
      report("rejected", { what: "lease", detail });
      return;
    }
    // On disk first: a receipt must never cite a lease that cannot be shown.
    try {
      leases.append(lease.signed);
    } catch (error) {
      this.#parts.storageFailed(error as Error);
      return;
    }
    this.#leaseSeq = leaseSeq;
    holder.adopt(lease, this.#beatBefore);
    report("lease", { lease: leaseId, seq: leaseSeq });
    reportObserving(report, lease.body, clock.nowUs());
    // A beat under the new lease, at once: only that makes the organism run.
    this.beatNow();
    void this.#drift.look().then(() => {
      this.#firstLease.resolve(holder.standing.drifted ? "DRIFTED" : "MEASURED");
    });
  }

  /** Every sidecar of the tenant hears of every revocation; of most there is nothing to say here. */
  #revoked(revocation: Verified<RevocationBody>): void {
    const { authority, holder, report } = this.#parts;
    const leases = [holder.lease, this.#next].filter((l) => l !== null);
    if (authority.retired !== null) holder.set({ retired: true });
    // Who takes back the lease to come means the one that it follows, too.
    if (leases.some((l) => authority.revokes(l) !== null)) holder.revoke();
    if (!authority.concerns(revocation, leases)) return;
    const { epoch, kind, reason } = revocation.body;
    report("revocation", { epoch, kind, reason });
    // Leases are cut again: a beat asks for one.
    if (kind === "RESUME") this.beatNow();
  }

  #rekeyed(version: number): void {
    // Each attachment begins with the newest, which is mostly the one that is held.
    if (version > this.#keysetVersion) this.#parts.report("keyset", { version });
    this.#keysetVersion = version;
    this.#judgeAgain();
  }

  /** A key that the lease in hand rests on may have been given up. */
  #judgeAgain(): void {
    const { authority, clock, holder, report } = this.#parts;
    const { lease } = holder;
    if (lease === null) return;
    const judged = authority.verifyLease(lease.signed, clock.nowUs());
    // Time is the gate's to judge, afresh at each action.
    if (!isInvalid(judged) || judged.code === "E_EXPIRED" || judged.code === "E_NOT_YET_VALID")
      return;
    holder.revoke();
    report("lease lost", { detail: judged.detail });
    // Should keys have been exchanged, the next lease is but a beat away.
    this.beatNow();
  }

  async #cosigned(note: string): Promise<void> {
    const { authority, report } = this.#parts;
    const complete = await this.#heads.complete(note, authority.keyset.body);
    if (typeof complete === "string") this.memory.cosigned(complete);
    else report("rejected", { what: "checkpoint", detail: complete.detail });
  }

  #obey({ body }: Verified<DirectiveBody>): void {
    const { holder, report, agent } = this.#parts;
    const { quarantined, stopped, drifted } = holder.standing;
    let outcome: "DONE" | "IGNORED" = "DONE";
    let detail = "";
    switch (body.kind) {
      case "QUARANTINE":
        holder.obey("quarantined", body.directiveId);
        break;
      case "RELEASE":
        holder.set({ quarantined: false });
        void this.#drift.forgive();
        break;
      case "STOP":
        holder.obey("stopped", body.directiveId);
        agent()?.signal("SIGTERM");
        break;
      case "RESYNC":
        // Receipts go with the beat below, and by it a lease is earned.
        break;
      case "RESTART_AGENT":
        if (agent()?.restart() === true) break;
        outcome = "IGNORED";
        detail = agent() === null ? "no agent is supervised" : "its policy is never to restart";
        break;
      case "REATTACH":
        // The next session begins with the result.
        setImmediate(() => this.tether?.attachAnew(`told to by ${body.directiveId}`));
        break;
      default:
        outcome = "IGNORED";
    }
    // What stands already is told again at every Attach, and is no news to the ledger.
    const stood =
      (body.kind === "QUARANTINE" && quarantined) ||
      (body.kind === "STOP" && stopped) ||
      (body.kind === "RELEASE" && !quarantined && !drifted);
    const told = `${body.kind.toLowerCase()} by ${body.directiveId}`;
    if (!stood) this.#note("directive", told);
    report("directive", { kind: body.kind, reason: body.reason });
    this.#results = [
      ...this.#results.slice(-3),
      { directiveId: body.directiveId, outcome, detail },
    ];
    this.beatNow();
  }

  async #beat(session: BeatOf) {
    const { agent, authority, clock, holder, ledger, progress } = this.#parts;
    // Without a lease nothing else would see that the files were put back. What they had become is
    // said first: the control plane may not have heard of it.
    if (holder.standing.drifted && session.counter > 1) await this.#drift.look();
    const nowUs = clock.nowUs();
    const body = heartbeat({
      heartbeatId: newId("hbt", this.#ids),
      tenantId: authority.genesis.body.tenantId,
      sessionEpoch: session.epoch,
      counter: session.counter,
      dueInUs: session.dueInUs,
      nowUs,
      monotonicUs: clock.monotonicUs(),
      suspendedUs: clock.suspendedUs(),
      loopLagUs: session.loopLagUs,
      agent: agent(),
      enforcement: this.#parts.enforcement,
      ledger,
      novelty: progress.novelty(nowUs),
      lastProgressUs: progress.lastProgressUs,
      grantRef: authority.grant.ref,
      lease: holder.lease,
      autonomyLeftUs: Math.floor(holder.autonomyLeftUs),
      manifestHash: this.#drift.measured,
      directiveResults: this.#results,
      spent: spentUnder(authority.grant, ledger, this.#parts.passing),
    });
    this.#heads.remember(body);
    this.#beatBefore = this.#lastBeat;
    this.#lastBeat = body.monotonicUs;
    return fitHeartbeat(body);
  }
}
