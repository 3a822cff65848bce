import { equal } from "../../src/domain/bytes.ts";
import type { LimitState } from "../../src/domain/claim.ts";
import { type Limits, UNLIMITED } from "../../src/domain/grant.ts";
import type { WorkLedger } from "../ledger/work-ledger.ts";

const SLICES = 60;
const SLICE_US = 1_000_000;

/**
 * What was spent in one scope under one grant. What the ledger knows is read once; from there every
 * reservation is counted here, also those whose intent is not durable yet, so that calls side by side
 * cannot spend the same remainder.
 */
class Account {
  actions: number;
  bytes: number;
  concurrent = 0;
  /** Openings of the last 60 seconds, by second; counts a little too much, never too little. */
  readonly #slices = Array.from({ length: SLICES + 1 }, () => 0);
  #slice = 0;
  #inWindow = 0;

  constructor(spent: { actions: number; bytes: number }) {
    this.actions = spent.actions;
    this.bytes = spent.bytes;
  }

  rateLeft(perMinute: number, monotonicUs: number): number {
    const slice = Math.floor(monotonicUs / SLICE_US);
    if (slice - this.#slice > SLICES) {
      this.#slices.fill(0);
      this.#inWindow = 0;
    } else {
      for (let s = this.#slice + 1; s <= slice; s++) {
        this.#inWindow -= this.#slices[s % (SLICES + 1)] as number;
        this.#slices[s % (SLICES + 1)] = 0;
      }
    }
    this.#slice = Math.max(slice, this.#slice);
    return Math.max(0, perMinute - this.#inWindow);
  }

  countOpening(by: number): void {
    const at = this.#slice % (SLICES + 1);
    this.#slices[at] = (this.#slices[at] as number) + by;
    this.#inWindow += by;
  }
}

/** A place taken in a scope's limits. Either given back, or ended with the bytes that passed. */
export interface Reservation {
  /** Nothing was opened: as if it had never been taken. */
  giveBack(): void;
  end(bytes: number): void;
}

export class Spending {
  readonly #ledger: Pick<WorkLedger, "spent">;
  #grantRef: Uint8Array = new Uint8Array();
  readonly #accounts = new Map<string, Account>();

  constructor(ledger: Pick<WorkLedger, "spent">) {
    this.#ledger = ledger;
  }

  /** What is left just now, as the claim tells it. */
  left(grantRef: Uint8Array, scope: string, limits: Limits): LimitState {
    const account = this.#account(grantRef, scope);
    return {
      scope,
      actionsLeft: left(limits.maxActions, account.actions),
      bytesLeft: left(limits.maxBytes, account.bytes),
      concurrentLeft: left(limits.maxConcurrent, account.concurrent),
    };
  }

  /** Reserves one action, or names the limit that is spent. */
  reserve(
    grantRef: Uint8Array,
    scope: string,
    limits: Limits,
    monotonicUs: number,
  ): Reservation | { readonly spent: string } {
    const account = this.#account(grantRef, scope);
    if (account.actions >= limits.maxActions) return { spent: `${limits.maxActions} actions` };
    if (limits.maxBytes !== UNLIMITED && account.bytes >= limits.maxBytes) {
      return { spent: `${limits.maxBytes} bytes` };
    }
    if (account.concurrent >= limits.maxConcurrent) {
      return { spent: `${limits.maxConcurrent} actions at once` };
    }
    const rated = limits.ratePerMinute !== UNLIMITED;
    if (rated && account.rateLeft(limits.ratePerMinute, monotonicUs) === 0) {
      return { spent: `${limits.ratePerMinute} actions a minute` };
    }
    account.actions++;
    account.concurrent++;
    if (rated) account.countOpening(1);
    return {
      giveBack: () => {
        account.actions--;
        account.concurrent--;
        if (rated) account.countOpening(-1);
      },
      end: (bytes) => {
        account.concurrent--;
        account.bytes += bytes;
      },
    };
  }

  #account(grantRef: Uint8Array, scope: string): Account {
    if (!equal(grantRef, this.#grantRef)) {
      this.#accounts.clear();
      this.#grantRef = grantRef;
    }
    let account = this.#accounts.get(scope);
    if (account === undefined) {
      account = new Account(this.#ledger.spent(grantRef, scope));
      this.#accounts.set(scope, account);
    }
    return account;
  }
}

const left = (limit: number, spent: number): number =>
  limit === UNLIMITED ? UNLIMITED : Math.max(0, limit - spent);
