import { type Limits, type ScopeGrant, UNLIMITED } from "../domain/grant.ts";
import type { HeartbeatBody } from "../domain/heartbeat.ts";
import type { LeaseBody } from "../domain/lease.ts";
import { slabActionsMin, slabBytesMin, slabShare } from "../domain/limits.ts";

/** What ceilings are drawn from, all of it durable in the tenant ledger or signed by the sidecar. */
export interface SlabAccount {
  /** The grant's scopes, with what each instance may spend there in all. */
  readonly granted: readonly ScopeGrant[];
  /** Of the last lease of this ledger; empty: it has had none. */
  readonly last: readonly ScopeGrant[];
  /** The last lease of each other ledger of the same instance under this grant. */
  readonly others: readonly Pick<LeaseBody, "scopes" | "notAfterUs">[];
  /** What this ledger says was spent, in its latest beat. A scope that it leaves out says nothing new. */
  readonly spent: HeartbeatBody["spent"];
  readonly nowUs: number;
}

type Counted = "maxActions" | "maxBytes";
const COUNTED = [
  ["maxActions", "actions", slabActionsMin],
  ["maxBytes", "bytes", slabBytesMin],
] as const;

/**
 * The scopes of the next lease. Of what is counted, its number is a ceiling on all that this ledger
 * has ever spent: what was spent, and one slab more. So what a slab leaves unspent stays with the
 * grant, a lease that is lost or cut twice hands out nothing twice, and a sidecar that hears of nobody
 * stops after one slab.
 *
 * The ceilings of all ledgers of one instance never exceed the grant's number together: one that was
 * lost keeps what it was given, for nobody can say how much of it was spent. What holds at any moment,
 * rate and concurrency, is free again when the last lease of the other ledger has ended.
 */
export const ceilings = (account: SlabAccount): ScopeGrant[] =>
  account.granted.map(({ name, limits }) => {
    const drawn: Limits = { ...limits };
    for (const [limit, what, least] of COUNTED) {
      drawn[limit] = ceilingOf(account, name, limit, what, least);
    }
    for (const limit of ["ratePerMinute", "maxConcurrent"] as const) {
      const inForce = account.others.filter((o) => account.nowUs < o.notAfterUs);
      drawn[limit] = leftOf(limits[limit], sumOf(inForce, name, limit));
    }
    return { name, limits: drawn };
  });

function ceilingOf(
  account: SlabAccount,
  scope: string,
  limit: Counted,
  what: "actions" | "bytes",
  least: number,
): number {
  const granted = numberIn(account.granted, scope, limit);
  if (granted === UNLIMITED) return UNLIMITED;
  const here = leftOf(granted, sumOf(account.others, scope, limit));
  const spent = account.spent.find((s) => s.scope === scope)?.[what] ?? 0;
  // Never less than before: a beat that came late knows of less.
  const before = Math.min(here, numberIn(account.last, scope, limit));
  return Math.max(before, Math.min(here, spent + slabOf(granted, least)));
}

/** Whether of anything in these scopes only so much may be spent. */
export const areCounted = (scopes: readonly ScopeGrant[]): boolean =>
  scopes.some(({ limits }) => COUNTED.some(([limit]) => limits[limit] !== UNLIMITED));

/** Whether half a slab or less is left somewhere, and there is more to give. */
export const runsLow = (account: SlabAccount): boolean =>
  ceilings(account).some(({ name, limits }) =>
    COUNTED.some(([limit, what, least]) => {
      const before = numberIn(account.last, name, limit);
      if (limits[limit] <= before) return false;
      const spent = account.spent.find((s) => s.scope === name)?.[what] ?? 0;
      return before - spent <= slabOf(numberIn(account.granted, name, limit), least) / 2;
    }),
  );

/** Whether one lease counts up to more, anywhere, than the one before. */
export const handsOutMore = (last: readonly ScopeGrant[], next: readonly ScopeGrant[]): boolean =>
  next.some(({ name, limits }) =>
    COUNTED.some(([limit]) => limits[limit] > numberIn(last, name, limit)),
  );

/** A tenth of what is granted, and small grants in one piece. */
const slabOf = (granted: number, least: number): number =>
  Math.max(least, Math.ceil(granted / slabShare));

const sumOf = (others: SlabAccount["others"], scope: string, limit: keyof Limits): number =>
  others.reduce((sum, { scopes }) => sum + numberIn(scopes, scope, limit), 0);

const leftOf = (granted: number, elsewhere: number): number =>
  granted === UNLIMITED ? UNLIMITED : Math.max(0, granted - elsewhere);

const numberIn = (scopes: readonly ScopeGrant[], scope: string, limit: keyof Limits): number =>
  scopes.find((s) => s.name === scope)?.limits[limit] ?? 0;
