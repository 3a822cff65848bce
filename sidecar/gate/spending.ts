import { equal } from "../../src/domain/bytes.ts";
import type { LimitState } from "../../src/domain/claim.ts";
import { type Limits, UNLIMITED } from "../../src/domain/grant.ts";
import { byteBlockMax, byteBlockMin } from "../../src/domain/limits.ts";
import type { OpenIntent, Spent, WorkLedger } from "../ledger/work-ledger.ts";
import { RateWindow } from "./rate-window.ts";

/** What is counted in one scope. The ledger's own counts: they are durable with what they count. */
interface Account {
  readonly spent: Spent;
  readonly window: RateWindow;
  concurrent: number;
  /** The limits that it was last used under, and what may be left until somebody is told. */
  limits: Limits | null;
  actionsLow: number;
  bytesLow: number;
}

/** What one action takes of its scope's limits at its opening. */
export interface Taken {
  /** What was left just before. */
  readonly state: LimitState;
  readonly reservedBytes: number;
  readonly recent: number;
  /** Its place among those at once. Given back when it ends, or when nothing was opened after all. */
  release(): void;
}

type SpendingLedger = Pick<WorkLedger, "spent" | "reserve">;

/**
 * What the limits of the lease in hand leave to spend. A limit is a ceiling on what was ever spent in
 * its scope under its grant, so a new lease raises it or does not; it never refills anything.
 */
export class Spending {
  readonly #ledger: SpendingLedger;
  #grantRef: Uint8Array = new Uint8Array();
  readonly #accounts = new Map<string, Account>();
  /** Told when half of what a lease leaves in a scope is gone, and then half of that, and so on. */
  readonly #low: (scope: string) => void;

  constructor(ledger: SpendingLedger, low: (scope: string) => void) {
    this.#ledger = ledger;
    this.#low = low;
  }

  /** What is left just now. */
  left(grantRef: Uint8Array, scope: string, limits: Limits, monotonicUs: number): LimitState {
    const { spent, window, concurrent } = this.#account(grantRef, scope, monotonicUs);
    return {
      scope,
      actionsLeft: left(limits.maxActions, spent.actions),
      bytesLeft: left(limits.maxBytes, spent.bytes),
      concurrentLeft: left(limits.maxConcurrent, concurrent),
      rateLeft: left(limits.ratePerMinute, window.count(monotonicUs)),
    };
  }

  /**
   * Takes a place for one action out of what is left, or names the limit that is spent. The ledger's
   * `open` must follow in the same turn: it is what counts the action and its bytes.
   */
  take(
    grantRef: Uint8Array,
    scope: string,
    limits: Limits,
    monotonicUs: number,
  ): Taken | { readonly state: LimitState; readonly spent: string } {
    const state = this.left(grantRef, scope, limits, monotonicUs);
    const account = this.#account(grantRef, scope, monotonicUs);
    this.#watch(account, state, limits);
    const spent = spentOf(state, limits);
    if (spent !== null) return { state, spent };
    account.concurrent++;
    let released = false;
    return {
      state,
      reservedBytes: limits.maxBytes === UNLIMITED ? 0 : blockOf(state.bytesLeft),
      recent: limits.ratePerMinute === UNLIMITED ? 0 : account.window.add(monotonicUs),
      release: () => {
        if (!released) account.concurrent--;
        released = true;
      },
    };
  }

  /**
   * Reserves a further block for an open action, durable when it resolves: as many bytes as were
   * reserved, at least `needed`. null: so many are not left.
   */
  async more(
    grantRef: Uint8Array,
    intent: OpenIntent,
    { scope, limits, needed }: { scope: string; limits: Limits; needed: number },
  ): Promise<number | null> {
    const spent = this.#ledger.spent(grantRef, scope);
    const bytesLeft = left(limits.maxBytes, spent.bytes);
    const account = this.#accounts.get(scope);
    if (account !== undefined) {
      const actionsLeft = left(limits.maxActions, spent.actions);
      this.#watch(account, { scope, actionsLeft, bytesLeft }, limits);
    }
    if (bytesLeft < needed) return null;
    const bytes = Math.max(needed, blockOf(bytesLeft));
    await this.#ledger.reserve(intent, bytes);
    return bytes;
  }

  #watch(
    account: Account,
    { scope, actionsLeft, bytesLeft }: Pick<LimitState, "scope" | "actionsLeft" | "bytesLeft">,
    limits: Limits,
  ): void {
    const isNew = account.limits !== limits;
    // What is about to be taken is not left, either.
    const after = Math.max(0, actionsLeft - 1);
    const low = after <= account.actionsLow || bytesLeft <= account.bytesLow;
    if (!isNew && !low) return;
    account.limits = limits;
    account.actionsLow = halfOf(actionsLeft);
    account.bytesLow = halfOf(bytesLeft);
    if (!isNew) this.#low(scope);
  }

  #account(grantRef: Uint8Array, scope: string, monotonicUs: number): Account {
    if (!equal(grantRef, this.#grantRef)) {
      this.#accounts.clear();
      this.#grantRef = grantRef;
    }
    let account = this.#accounts.get(scope);
    if (account === undefined) {
      const spent = this.#ledger.spent(grantRef, scope);
      const window = new RateWindow(spent.recent, monotonicUs);
      account = { spent, window, concurrent: 0, limits: null, actionsLow: 0, bytesLow: 0 };
      this.#accounts.set(scope, account);
    }
    return account;
  }
}

/** The limit that stands in the way of one more action, in words; null: none does. */
function spentOf(state: LimitState, limits: Limits): string | null {
  if (state.actionsLeft === 0) return `${limits.maxActions} actions`;
  if (state.bytesLeft === 0) return `${limits.maxBytes} bytes`;
  if (state.concurrentLeft === 0) return `${limits.maxConcurrent} actions at once`;
  return state.rateLeft === 0 ? `${limits.ratePerMinute} actions a minute` : null;
}

const left = (limit: number, spent: number): number =>
  limit === UNLIMITED ? UNLIMITED : Math.max(0, limit - spent);

/** −1: nothing is left to halve, and nobody is told of it again and again. */
const halfOf = (left: number): number => (left > 1 ? left / 2 : -1);

const blockOf = (bytesLeft: number): number =>
  Math.min(bytesLeft, byteBlockMax, Math.max(byteBlockMin, Math.floor(bytesLeft / 16)));
