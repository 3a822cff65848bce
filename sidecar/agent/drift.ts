import { equal, toHex } from "../../src/domain/bytes.ts";
import { driftAgainUs, driftSettleUs } from "../../src/domain/limits.ts";
import type { Clock, Timer } from "../../src/native/clock.ts";
import type { AuthorityHolder } from "../gate/authority.ts";
import { lifecycleDraft } from "../ledger/lifecycle.ts";
import type { WorkLedger } from "../ledger/work-ledger.ts";
import type { Report } from "../report.ts";

export interface DriftParts {
  /** As measured when this process began. */
  readonly manifestHash: Uint8Array;
  /** As it drifted before this process began, and was not released since; null: it had not. */
  readonly latched: Uint8Array | null;
  /** manifest_hash of the agent's files as they are now. Rejects when they cannot be measured. */
  readonly measure: () => Promise<Uint8Array>;
  readonly holder: AuthorityHolder;
  readonly ledger: Pick<WorkLedger, "record">;
  readonly clock: Clock;
  readonly report: Report;
  /** Authority has just ended for it. */
  readonly drifted: () => void;
}

/**
 * Whether the agent's files are still those of its manifest. It is looked at before the agent starts,
 * at each renewal, and when a file changes; once they are not, authority ends here and now, with a
 * receipt, and the control plane is told by the next beat. It latches: files that were put back have
 * been something else in between.
 */
export class Drift {
  readonly #parts: DriftParts;
  #measured: Uint8Array;
  /** One look at a time: they read thousands of files. */
  #looking: Promise<void> = Promise.resolve();
  #due: Timer | null = null;
  /** A change is being looked at just now, and whether another came meanwhile. */
  #following = false;
  #again = false;
  /** When a change had last been looked at, by the monotonic clock. */
  #followedUs = Number.NEGATIVE_INFINITY;

  constructor(parts: DriftParts) {
    this.#parts = parts;
    this.#measured = parts.latched ?? parts.manifestHash;
  }

  /** manifest_hash as it was last measured; zeros: it could not be. */
  get measured(): Uint8Array {
    return this.#measured;
  }

  /** Measures now. Resolves when drift, if there is any, has taken effect. */
  look(): Promise<void> {
    this.#looking = this.#looking.then(() => this.#look());
    return this.#looking;
  }

  /**
   * Some file may have changed: looks as soon as it is quiet, and no more often than now and then
   * however often this is said, since the agent could say it without end.
   */
  changed(): void {
    if (this.#due !== null) return;
    this.#again = this.#following;
    if (this.#following) return;
    const { clock } = this.#parts;
    const waitUs = Math.max(driftSettleUs, this.#followedUs + driftAgainUs - clock.monotonicUs());
    this.#due = clock.after(waitUs, () => void this.#follow());
  }

  async #follow(): Promise<void> {
    this.#due = null;
    this.#following = true;
    await this.look();
    this.#following = false;
    this.#followedUs = this.#parts.clock.monotonicUs();
    if (this.#again) this.changed();
  }

  /** An operator's release ends the latch, if the files are again what was recorded. */
  forgive(): Promise<void> {
    this.#looking = this.#looking.then(async () => {
      const { holder, manifestHash } = this.#parts;
      if (!holder.standing.drifted) return;
      await this.#measure();
      if (equal(this.#measured, manifestHash)) holder.set({ drifted: false });
    });
    return this.#looking;
  }

  close(): void {
    this.#due?.cancel();
    this.#again = false;
  }

  async #look(): Promise<void> {
    const { holder, ledger, manifestHash, report, clock, drifted } = this.#parts;
    await this.#measure();
    if (equal(this.#measured, manifestHash) || holder.standing.drifted) return;
    holder.set({ drifted: true });
    const told = `measured ${toHex(this.#measured)}`;
    ledger.record({
      ...lifecycleDraft("drift", told, manifestHash, clock.nowUs()),
      reason: "MANIFEST_DRIFT",
    });
    report("drift", { measured: toHex(this.#measured) });
    drifted();
  }

  async #measure(): Promise<void> {
    const { measure, report } = this.#parts;
    try {
      this.#measured = await measure();
    } catch (error) {
      report("measuring failed", { detail: (error as Error).message });
      // What cannot be measured is not what was recorded.
      this.#measured = new Uint8Array(32);
    }
  }
}
