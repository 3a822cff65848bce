import type { Allowed, Authority, Refused } from "../../src/domain/authorize.ts";
import type { Claim } from "../../src/domain/claim.ts";
import type { LeaseBody } from "../../src/domain/lease.ts";
import type { Reason } from "../../src/domain/reason.ts";
import type { Verified } from "../../src/domain/signed.ts";
import type { Clock, Timer } from "../../src/native/clock.ts";

/** Everything beside the lease that decides whether this instance may act at all. */
export type Standing = Pick<
  Authority,
  "manifestRecorded" | "retired" | "drifted" | "quarantined" | "stopped" | "revoked"
>;

/** The authority as it stands at one moment, for the domain to decide from. */
export type Held = Omit<Authority, "subject">;

export type Decide = (held: Held, claim: Claim, nowUs: number) => Allowed | Refused;

/** What a directive says. */
const TOLD: readonly Reason[] = ["QUARANTINED", "STOPPED"];

/** How often the end of a lease, or of its observing, is looked for: clocks are set, too. */
const LOOK_US = 1_000_000;

/**
 * The authority that this sidecar holds now. The tether adopts leases into it and tells it the
 * instance's standing; the gate decides from it and hears of every change that may take leave back.
 */
export class AuthorityHolder {
  readonly #clock: Clock;
  readonly #decide: Decide;
  #lease: Verified<LeaseBody> | null = null;
  #deadlineMonotonicUs = 0;
  #standing: Standing = {
    manifestRecorded: false,
    retired: false,
    drifted: false,
    quarantined: false,
    stopped: false,
    revoked: false,
  };
  /** The directive that quarantined or stopped it last; empty: none, or not known any more. */
  #toldBy = "";
  #timer: Timer | null = null;
  #listeners: (() => void)[] = [];

  constructor(clock: Clock, decide: Decide) {
    this.#clock = clock;
    this.#decide = decide;
  }

  get lease(): Verified<LeaseBody> | null {
    return this.#lease;
  }

  get standing(): Standing {
    return this.#standing;
  }

  /** Microseconds for which this instance may still act if nobody is heard from again. */
  get autonomyLeftUs(): number {
    const lease = this.#lease;
    const { manifestRecorded, retired, drifted, quarantined, stopped, revoked } = this.#standing;
    const barred = !manifestRecorded || retired || drifted || quarantined || stopped || revoked;
    if (lease === null || barred) return 0;
    const wall = lease.body.notAfterUs - this.#clock.nowUs();
    const monotonic = this.#deadlineMonotonicUs - this.#clock.monotonicUs();
    return Math.max(0, Math.min(wall, monotonic));
  }

  /** Which part of the lease is left by that, from 0 to 1. */
  get leaseLeft(): number {
    const { notBeforeUs, notAfterUs } = this.#lease?.body ?? { notBeforeUs: 0, notAfterUs: 1 };
    return Math.min(1, this.autonomyLeftUs / (notAfterUs - notBeforeUs));
  }

  /** Whether there is no lease that holds at this time, by the earlier of the two clocks. */
  lapsed(nowUs: number): boolean {
    const lease = this.#lease;
    return (
      lease === null ||
      nowUs >= lease.body.notAfterUs ||
      this.#clock.monotonicUs() >= this.#deadlineMonotonicUs
    );
  }

  /**
   * Takes over a lease that was verified. Calls in flight go on under it if it allows them.
   *
   * @param requestedMonotonicUs when it was asked for, by the monotonic clock: from there its whole
   * length counts at most, so that a wall clock that is behind gains nothing.
   */
  adopt(
    lease: Verified<LeaseBody>,
    requestedMonotonicUs: number = this.#clock.monotonicUs(),
  ): void {
    const { notAfterUs, issuedAtUs } = lease.body;
    const left = notAfterUs - this.#clock.nowUs();
    this.#deadlineMonotonicUs = Math.min(
      this.#clock.monotonicUs() + left,
      requestedMonotonicUs + (notAfterUs - issuedAtUs),
    );
    this.#lease = lease;
    this.#standing = { ...this.#standing, revoked: false };
    this.#changed();
  }

  /** The lease held was taken back: everything in flight is cut, until another is adopted. */
  revoke(): void {
    this.set({ revoked: true });
  }

  set(standing: Partial<Standing>): void {
    this.#standing = { ...this.#standing, ...standing };
    this.#changed();
  }

  /** Takes all authority away, by the word of a directive, `dir_…`: whatever is refused or cut names it. */
  obey(standing: "quarantined" | "stopped", directiveId: string): void {
    this.#toldBy = directiveId;
    this.set({ [standing]: true });
  }

  decide(claim: Claim): Allowed | Refused {
    const held: Held = {
      ...this.#standing,
      lease: this.#lease,
      overdue: this.#clock.monotonicUs() >= this.#deadlineMonotonicUs,
    };
    const decision = this.#decide(held, claim, this.#clock.nowUs());
    if (decision.allowed || this.#toldBy === "" || !TOLD.includes(decision.reason)) return decision;
    // Its record names the operator, or the proof, behind it.
    return { ...decision, detail: `${decision.detail}; by ${this.#toldBy}` };
  }

  /** Decides anew about everything in flight: time may have gone on otherwise than timers tell. */
  look(): void {
    this.#changed();
  }

  /** Called after every change, and when the lease, or its observing, has run out. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  close(): void {
    this.#timer?.cancel();
    this.#listeners = [];
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
    this.#arm();
  }

  #arm(): void {
    this.#timer?.cancel();
    const left = this.autonomyLeftUs;
    if (left === 0) return;
    const observed = this.#observes;
    this.#timer = this.#clock.after(Math.min(left, LOOK_US), () =>
      this.autonomyLeftUs === 0 || observed !== this.#observes ? this.#changed() : this.#arm(),
    );
  }

  get #observes(): boolean {
    return this.#clock.nowUs() < (this.#lease?.body.observeUntilUs ?? 0);
  }
}
