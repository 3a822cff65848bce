import { toHex } from "../domain/bytes.ts";
import {
  attachCalls,
  callersCountedMax,
  ledgerBeats,
  strangerCalls,
  strangerCallsPerAddress,
} from "../domain/limits.ts";
import { type Rate, Throttle } from "../domain/rate.ts";
import type { Clock } from "../native/clock.ts";
import { StatusError } from "../wire/status.ts";

export interface AdmissionRates {
  /** Calls without a credential: of all, and of one address. */
  readonly strangers: Rate;
  readonly strangersPerAddress: Rate;
  /** Attachments that one ledger begins. */
  readonly attaching: Rate;
  /** Beats of one ledger. */
  readonly beating: Rate;
}

export const ADMISSION: AdmissionRates = {
  strangers: strangerCalls,
  strangersPerAddress: strangerCallsPerAddress,
  attaching: attachCalls,
  beating: ledgerBeats,
};

/**
 * How often those may call of whom nothing is proven yet, and a ledger, which may be in anybody's hands,
 * may speak: each beat is verified and stored, at the cost of every other tenant. An address that calls too often is refused
 * before it is counted among all, so that it takes nobody else's turn.
 */
export class Admission {
  readonly #clock: Clock;
  readonly #all: Throttle;
  readonly #addresses: Throttle;
  readonly #attaching: Throttle;
  readonly #beating: Throttle;

  constructor(clock: Clock, rates: AdmissionRates = ADMISSION) {
    this.#clock = clock;
    this.#all = new Throttle(rates.strangers, 1);
    this.#addresses = new Throttle(rates.strangersPerAddress, callersCountedMax);
    this.#attaching = new Throttle(rates.attaching, callersCountedMax);
    this.#beating = new Throttle(rates.beating, callersCountedMax);
  }

  /** A call without a credential that holds, from `address:port`. @throws RESOURCE_EXHAUSTED */
  stranger(peer: string): void {
    const nowUs = this.#clock.monotonicUs();
    const address = peer.slice(0, peer.lastIndexOf(":"));
    const waitUs = this.#addresses.take(address, nowUs) || this.#all.take("", nowUs);
    if (waitUs > 0) throw tooMany("calls without a credential that holds", waitUs);
  }

  /** A ledger begins to attach. @throws RESOURCE_EXHAUSTED */
  attaching(ledgerId: Uint8Array): void {
    const waitUs = this.#attaching.take(toHex(ledgerId), this.#clock.monotonicUs());
    if (waitUs > 0) throw tooMany("calls to attach this ledger", waitUs);
  }

  /** A beat of a ledger came. @throws RESOURCE_EXHAUSTED */
  beat(ledgerId: Uint8Array): void {
    const waitUs = this.#beating.take(toHex(ledgerId), this.#clock.monotonicUs());
    if (waitUs > 0) throw tooMany("heartbeats of this ledger", waitUs);
  }
}

const tooMany = (what: string, waitUs: number): StatusError =>
  new StatusError(
    "RESOURCE_EXHAUSTED",
    "TOO_MANY_CALLS",
    `too many ${what}; try again in ${Math.ceil(waitUs / 1000)} ms`,
    { retry_after_us: `${waitUs}` },
  );
