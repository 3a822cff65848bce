import type { LimitState } from "../domain/claim.ts";
import { type Limits, UNLIMITED } from "../domain/grant.ts";
import type { HeartbeatBody } from "../domain/heartbeat.ts";
import type { ReceiptHeader } from "../domain/receipt.ts";
import { type Break, broken } from "./checks.ts";
import type { Flags } from "./flags.ts";
import type { Contents } from "./payload.ts";

const MINUTE_US = 60_000_000;

/** An intent that is closed, as far as it speaks of limits. */
export interface Spending {
  readonly header: ReceiptHeader;
  /** Of its scope, in the lease that it cites; null: the lease has no such scope, it merely observes. */
  readonly limits: Limits | null;
  readonly contents: Contents;
}

/** What is asked of it once all intents before it are known: a fraction of what is shown, since many may wait. */
interface Waiting {
  readonly seq: number;
  readonly scope: string;
  readonly openedAtUs: number;
  readonly limits: Limits | null;
  /** null: its claim is withheld, or says nothing of limits. */
  readonly state: LimitState | null;
}

/** What a beat says was spent. */
export interface Stated {
  readonly spent: HeartbeatBody["spent"];
  /** Size of its head. */
  readonly index: number;
  readonly who: string;
}

/** What the intents of one scope took, as far as they are known without a gap. */
interface Account {
  /** Intents opened in it, of those that are shown. */
  opened: number;
  /** Intents opened in it before what is shown; null: nothing has told yet. */
  before: number | null;
  /** Bytes that passed for certain. */
  passed: number;
  /** Bytes that its receipts charged, and with how many intents opened each of them was chained. */
  charged: number;
  readonly charges: { readonly intentsOpened: number; readonly sum: number }[];
  /** Opening times within the last minute, where a rate is set. */
  readonly recent: number[];
  /** The highest ceiling of bytes among all leases of this ledger. */
  readonly bytesMax: number;
}

/**
 * Holds what each claim says was left to spend against the intents before it, in the order in which
 * they were opened. The ceilings are the leases': verified to be the grant's or less.
 */
export class LimitBook {
  readonly #flags: Flags;
  readonly #accounts = new Map<string, Account>();
  /** Closed before all intents before them are known. null: its row alone is shown, not its scope. */
  readonly #waiting = new Map<number, Waiting | null>();
  readonly #start: number;
  /** What beats say, by the number of intents opened when they were made. */
  readonly #stated = new Map<number, Stated[]>();
  #known: number;
  /** Open rows among the known: each may have taken of any scope. */
  #unknown = 0;
  readonly #bytesMax: (scope: string) => number;

  /**
   * `start`: intents opened before the first receipt that is shown. `bytesMax`: the highest ceiling of
   * bytes in a scope, among all leases of the ledger.
   */
  constructor(flags: Flags, start: number, bytesMax: (scope: string) => number) {
    this.#flags = flags;
    this.#start = start;
    this.#known = start;
    this.#bytesMax = bytesMax;
  }

  /** A beat that was made when so many intents were opened says what was spent by then. */
  state(intentsOpened: number, stated: Stated): void {
    if (stated.spent.length === 0 || intentsOpened <= this.#known) return;
    this.#stated.set(intentsOpened, [...(this.#stated.get(intentsOpened) ?? []), stated]);
  }

  /** Takes the receipt that closes an intent. */
  close(spending: Spending): Break | null {
    const { header } = spending;
    const fault = shapeProblem(spending) ?? this.#charge(spending);
    if (fault !== null) return fault;
    if (header.intentSeq <= this.#start) return null;
    const { seq, scope, openedAtUs } = header;
    const state = spending.contents.claim?.limitState[0] ?? null;
    const { limits } = spending;
    this.#waiting.set(header.intentSeq, { seq, scope, openedAtUs, limits, state });
    return this.#advance();
  }

  /** Takes the row of an intent still open, which does not say its scope. */
  open(intentSeq: number): Break | null {
    if (intentSeq <= this.#start) return null;
    this.#waiting.set(intentSeq, null);
    return this.#advance();
  }

  #charge({ header, limits }: Spending): Break | null {
    const { seq, scope, verdict, spentBytes, intentsOpened } = header;
    if (limits === null || limits.maxBytes === UNLIMITED) return null;
    const account = this.#account(scope);
    account.charged += spentBytes;
    account.charges.push({ intentsOpened, sum: account.charged });
    // A crash forgets that some of it was given back, and maybe reserved anew.
    const reserved = verdict === "INDETERMINATE";
    if (!reserved) account.passed += spentBytes;
    const most = reserved ? spentBytes : account.passed;
    if (most <= account.bytesMax) return null;
    const what = `${most} bytes were spent in ${scope}, and no lease allows more than ${account.bytesMax}`;
    return exceeded(seq, what);
  }

  #advance(): Break | null {
    for (;;) {
      const next = this.#waiting.get(this.#known + 1);
      if (next === undefined) return null;
      this.#known++;
      this.#waiting.delete(this.#known);
      if (next === null) {
        this.#unknown++;
        const fault = this.#compare();
        if (fault !== null) return fault;
        continue;
      }
      const fault = this.#judge(this.#known, next) ?? this.#compare();
      if (fault !== null) return fault;
    }
  }

  /** Holds what beats say was spent against what had been opened when they were made. */
  #compare(): Break | null {
    for (const { spent, index, who } of this.#stated.get(this.#known) ?? []) {
      for (const { scope, actions } of spent) {
        const { opened, before } = this.#account(scope);
        if (before === null || actions >= before + opened) continue;
        const what = `${who} says that ${actions} actions were spent in ${scope}, and it were ${opened}`;
        return contradicts(index, what);
      }
    }
    this.#stated.delete(this.#known);
    return null;
  }

  #judge(intentSeq: number, { seq, scope, openedAtUs, limits, state }: Waiting): Break | null {
    const account = this.#account(scope);
    if (limits === null) {
      account.opened++;
      return null;
    }
    if (state !== null && account.before === null && limits.maxActions !== UNLIMITED) {
      account.before = Math.max(0, limits.maxActions - state.actionsLeft - account.opened);
    }
    const taken = (account.before ?? 0) + account.opened;
    if (taken >= limits.maxActions) {
      const what = `${taken} actions were opened in ${scope} before it, and its lease allows ${limits.maxActions}`;
      return exceeded(seq, what);
    }
    account.opened++;
    this.#rate(account, limits, { seq, openedAtUs });
    const charged = chargedBefore(account, intentSeq);
    if (state === null) return null;
    return (
      actionsProblem(seq, limits, state, taken, this.#unknown) ??
      bytesProblem(seq, limits, state, charged) ??
      withinProblem(seq, limits, state)
    );
  }

  /** By the sidecar's wall clock, which may have been set: so it is told, and breaks nothing. */
  #rate(
    { recent }: Account,
    { ratePerMinute }: Limits,
    { seq, openedAtUs }: Pick<Waiting, "seq" | "openedAtUs">,
  ): void {
    if (ratePerMinute === UNLIMITED) return;
    recent.push(openedAtUs);
    while (recent.length > 0 && (recent[0] as number) <= openedAtUs - MINUTE_US) recent.shift();
    if (recent.length > ratePerMinute) this.#flags.raise("RATE_EXCEEDED", seq);
  }

  #account(scope: string): Account {
    let account = this.#accounts.get(scope);
    if (account === undefined) {
      const before = this.#start === 0 ? 0 : null;
      const bytesMax = this.#bytesMax(scope);
      account = { opened: 0, before, passed: 0, charged: 0, charges: [], recent: [], bytesMax };
      this.#accounts.set(scope, account);
    }
    return account;
  }
}

/** What one receipt says of limits, by itself. */
function shapeProblem({ header, limits, contents }: Spending): Break | null {
  const { seq, kind, verdict, scope, spentBytes } = header;
  const { claim, action, outcome } = contents;
  if (kind === "ACTION" && claim !== null) {
    const [state, ...more] = claim.limitState;
    if (state?.scope !== scope || more.length > 0) {
      return contradicts(seq, `its claim does not say what was left in ${scope}, and only there`);
    }
  }
  const limited = limits !== null && limits.maxBytes !== UNLIMITED;
  if (kind !== "ACTION" || !limited) {
    return spentBytes === 0 ? null : contradicts(seq, "it charges bytes that nothing limits");
  }
  if (verdict === "INDETERMINATE" || action === null || outcome === null) return null;
  const passed = action.bodyBytes + outcome.bodyBytes;
  return spentBytes === passed
    ? null
    : contradicts(seq, `it charges ${spentBytes} bytes, and ${passed} passed`);
}

/** Bytes that were charged for certain when intent `intentSeq` was opened; earlier ones are forgotten. */
function chargedBefore({ charges }: Account, intentSeq: number): number {
  let sum = 0;
  let at = 0;
  for (
    ;
    at < charges.length && (charges[at] as { intentsOpened: number }).intentsOpened < intentSeq;
    at++
  ) {
    sum = (charges[at] as { sum: number }).sum;
  }
  if (at > 1) charges.splice(0, at - 1);
  return sum;
}

function actionsProblem(
  seq: number,
  { maxActions }: Limits,
  { actionsLeft }: LimitState,
  taken: number,
  unknown: number,
): Break | null {
  if (maxActions === UNLIMITED) return unlimitedProblem(seq, actionsLeft, "actions");
  const most = maxActions - taken;
  if (actionsLeft <= most && actionsLeft >= most - unknown) return null;
  return contradicts(
    seq,
    `its claim says that ${actionsLeft} actions were left, and it were ${most}`,
  );
}

function bytesProblem(
  seq: number,
  { maxBytes }: Limits,
  { bytesLeft }: LimitState,
  charged: number,
): Break | null {
  if (maxBytes === UNLIMITED) return unlimitedProblem(seq, bytesLeft, "bytes");
  const most = Math.max(0, maxBytes - charged);
  // Bytes reserved for what was open then make it less; nothing makes it more.
  if (bytesLeft <= most) return null;
  return contradicts(
    seq,
    `its claim says that ${bytesLeft} bytes were left, and it were ${most} at most`,
  );
}

/** What no count of receipts can tell exactly, and yet has its bounds. */
function withinProblem(seq: number, limits: Limits, state: LimitState): Break | null {
  const bounds = [
    ["actions at once", limits.maxConcurrent, state.concurrentLeft],
    ["actions in this minute", limits.ratePerMinute, state.rateLeft],
  ] as const;
  for (const [what, limit, left] of bounds) {
    const fault =
      limit === UNLIMITED
        ? unlimitedProblem(seq, left, what)
        : left <= limit
          ? null
          : contradicts(seq, `its claim says that ${left} ${what} were left, of ${limit}`);
    if (fault !== null) return fault;
  }
  return null;
}

const unlimitedProblem = (seq: number, left: number, what: string): Break | null =>
  left === UNLIMITED
    ? null
    : contradicts(seq, `its claim says that ${left} ${what} were left, and nothing limits them`);

const exceeded = (seq: number, detail: string): Break =>
  broken("LIMITS", "E_LIMIT_EXCEEDED", seq, detail);
const contradicts = (seq: number, detail: string): Break =>
  broken("LIMITS", "E_LIMIT_STATE", seq, detail);
