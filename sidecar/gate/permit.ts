import type { Claim } from "../../src/domain/claim.ts";
import type { Denial } from "../adapters/exchange.ts";

/** Held by the gate alone: whoever has no mint cannot make a Permit. */
const MINT = Symbol("mint");

export interface PermitFacts {
  readonly receiptId: string;
  readonly claim: Claim;
  readonly scope: string;
  readonly leaseRef: Uint8Array;
  readonly openedAtUs: number;
  /** The rule's target names this very address, so a private or loopback address is meant. */
  readonly namesAddress: boolean;
}

/** See `Permit.spend`. */
export type Spend = (bytes: number) => true | Promise<boolean>;

/**
 * Leave to carry out one action. Its intent is durable. The upstream takes nothing else, so that to
 * forward without leave cannot be written down.
 */
export class Permit {
  readonly facts: PermitFacts;
  readonly #spend: Spend;
  #cut: Denial | null = null;
  #onCut: ((denial: Denial) => void) | null = null;

  constructor(mint: typeof MINT, facts: PermitFacts, spend: Spend) {
    if (mint !== MINT) throw new TypeError("only the gate mints permits");
    this.facts = facts;
    this.#spend = spend;
  }

  /**
   * Leave for so many body bytes of either direction, asked for before they pass. True: they may pass
   * now. A promise: the disk is being asked; hold them, and read no more from that side. False: they
   * may not, and `onCut` has been told why. What passed is what counts, told with the ending. A cut
   * for another cause does not end it: the rest of a message may still pass.
   */
  spend(bytes: number): true | Promise<boolean> {
    return this.#spend(bytes);
  }

  /** Set once leave was taken back: its lease ended, or was revoked. */
  get cutBy(): Denial | null {
    return this.#cut;
  }

  /** Tells the one who carries the action out that leave is taken back; at once if it was already. */
  onCut(listener: (denial: Denial) => void): void {
    this.#onCut = listener;
    if (this.#cut !== null) listener(this.#cut);
  }

  /** Takes leave back. The gate's to call; a second time changes nothing. */
  cut(denial: Denial): void {
    if (this.#cut !== null) return;
    this.#cut = denial;
    this.#onCut?.(denial);
  }
}

/** For gate.ts alone; a boundary test holds that. */
export const mintPermit = (facts: PermitFacts, spend: Spend): Permit =>
  new Permit(MINT, facts, spend);
