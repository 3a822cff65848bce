import { cutBoundaryUs, unaryGraceUs } from "../../src/domain/limits.ts";
import type { Reason } from "../../src/domain/reason.ts";
import type { Clock } from "../../src/native/clock.ts";
import type { Denial, Ending } from "../adapters/exchange.ts";
import { type Carrier, mayCompleteMessage, mayFinish, type Shape } from "./cuts.ts";
import type { Permit } from "./permit.ts";

/** What went wrong with an admitted action. Its own receipt tells the rest. */
export const faultOf = ({ facts }: Permit, reason: Reason, message: string): Denial => {
  const { receiptId, scope } = facts;
  return { denied: true, reason, message, receiptId, scope, leaseId: "", remedy: "" };
};

/**
 * One action as its adapter carries it out, and what taking leave back does to it: the table of cuts.ts,
 * enforced. How far it has come is the adapter's to say, and how it ends in its protocol.
 */
export abstract class CarriedAction {
  readonly clock: Clock;
  /** null: it is not admitted yet. */
  permit: Permit | null = null;
  /** Why at most the rest of a message may pass; null: it goes on. */
  cutting: Denial | null = null;
  over = false;
  /** When something left for the upstream last; 0: nothing did. */
  protected egressLastUs = 0;
  readonly #carrier: Carrier;

  constructor(carrier: Carrier, clock: Clock) {
    this.#carrier = carrier;
    this.clock = clock;
  }

  protected abstract shape(): Shape;
  /** A message has begun to arrive from the upstream, and is not whole. */
  protected abstract inMessage(): boolean;
  /** What waits here for the upstream stays here. */
  protected abstract hush(): void;
  /** The only way out: takes its permit back to the gate, once. */
  protected abstract end(verdict: Ending["verdict"], reason: Reason, status: string): void;
  /** Says to the agent why it has ended. */
  protected abstract tell(denial: Denial): void;

  /**
   * Whether leave is gone by this time: nothing leaves after its lease, also in the moment before anybody
   * is told of the end. It is the time that the receipt will state, so that no honest one says that
   * bytes left too late.
   */
  lapsed(nowUs: number): boolean {
    return !(this.permit as Permit).holds(nowUs);
  }

  /** Whether something may leave for the upstream, which it then does, now. */
  mayLeave(): boolean {
    const now = this.clock.nowUs();
    if (this.lapsed(now)) return false;
    this.egressLastUs = now;
    return true;
  }

  /** Leave for so many bytes more; false: it has ended meanwhile, or ends by this. */
  async mayPass(bytes: number): Promise<boolean> {
    const leave = (this.permit as Permit).spend(bytes);
    return (leave === true || (await leave)) && !this.over;
  }

  /** Leave was taken back. */
  protected cut(denial: Denial): void {
    if (this.over || this.cutting !== null) return;
    this.hush();
    if (!mayFinish(denial.reason, this.shape())) this.cutNow(denial);
    else this.clock.after(unaryGraceUs, () => this.cutNow(denial));
  }

  protected cutNow(denial: Denial): void {
    if (this.over || this.cutting !== null) return;
    this.cutting = denial;
    // Half a message is of use to nobody: what has begun to arrive may arrive, for a moment.
    const half = this.inMessage() && mayCompleteMessage(denial.reason, this.#carrier);
    if (half) this.clock.after(cutBoundaryUs, () => this.endDenied(denial));
    else this.endDenied(denial);
  }

  deny(reason: Reason, detail: string): void {
    if (!this.over) this.endDenied(faultOf(this.permit as Permit, reason, detail));
  }

  endDenied(denial: Denial): void {
    if (this.over) return;
    this.cutting = denial;
    const cut = this.permit?.cutBy === denial;
    this.end(cut ? "CUT" : "FAILED", denial.reason, denial.message);
    this.tell(denial);
  }

  /** Whoever asked is gone. */
  protected endUnheard(reason: Reason, status: string): void {
    const { cutting } = this;
    if (cutting !== null) this.end("CUT", cutting.reason, cutting.message);
    else this.end("FAILED", reason, status);
  }
}
