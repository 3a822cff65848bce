import type { Claim } from "../../src/domain/claim.ts";
import type { Place } from "../../src/domain/mcp-server.ts";
import type { Denial } from "../adapters/exchange.ts";

/** Held by the gate alone: whoever has no mint cannot make a Permit. */
const MINT = Symbol("mint");

export interface PermitFacts {
  readonly receiptId: string;
  /** Its intent's place in the chain of intents. */
  readonly intentSeq: number;
  readonly claim: Claim;
  readonly scope: string;
  readonly leaseRef: Uint8Array;
  readonly openedAtUs: number;
  /** Where it is carried out, by what operators recorded. The upstream goes nowhere else. */
  readonly place: Place;
  /** The rule's target, or its server's, names this very address, so a private or loopback address is meant. */
  readonly namesAddress: boolean;
}

/** What the gate does for the holder of a permit: see `Permit.spend` and `Permit.holds`. */
export interface Powers {
  readonly spend: (bytes: number) => true | Promise<boolean>;
  /** Cuts the permit if leave for it is gone by `nowUs`, whether or not anybody was told. */
  readonly look: (nowUs: number) => void;
}

/**
 * Leave to carry out one action. Its intent is durable. The upstream takes nothing else, so that to
 * forward without leave cannot be written down.
 */
export class Permit {
  readonly facts: PermitFacts;
  readonly #powers: Powers;
  #cut: Denial | null = null;
  #onCut: ((denial: Denial) => void) | null = null;

  constructor(mint: typeof MINT, facts: PermitFacts, powers: Powers) {
    if (mint !== MINT) throw new TypeError("only the gate mints permits");
    this.facts = facts;
    this.#powers = powers;
  }

  /**
   * Leave for so many body bytes of either direction, asked for before they pass. True: they may pass
   * now. A promise: the disk is being asked; hold them, and read no more from that side. False: they
   * may not, and `onCut` has been told why. What passed is what counts, told with the ending. A cut
   * for another cause does not end it: the rest of a message may still pass.
   */
  spend(bytes: number): true | Promise<boolean> {
    return this.#powers.spend(bytes);
  }

  /**
   * Whether it may go on at this time. To be asked whenever something is about to leave for the
   * upstream, and at the head of every message of a stream: the lease may have run out in the moment
   * before anybody is told. It is the time that the receipt will state as its last egress. Cheap:
   * two comparisons. Once false, `cutBy` says why.
   */
  holds(nowUs: number): boolean {
    if (this.#cut === null) this.#powers.look(nowUs);
    return this.#cut === null;
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
export const mintPermit = (facts: PermitFacts, powers: Powers): Permit =>
  new Permit(MINT, facts, powers);
