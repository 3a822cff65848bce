import type { LimitState } from "../../domain/claim.ts";
import { type ScopeGrant, UNLIMITED } from "../../domain/grant.ts";
import type { HeartbeatBody } from "../../domain/heartbeat.ts";

/** What may still be spent in a scope. null: without limit. */
export interface LeftView {
  readonly scope: string;
  readonly actions: number | null;
  readonly bytes: number | null;
  /** Openings that the minute now ending still allows; as seen from afar, what any minute allows. */
  readonly perMinute: number | null;
  readonly atOnce: number | null;
}

const said = (left: number): number | null => (left === UNLIMITED ? null : left);

/** As the sidecar itself tells it. */
export const leftNow = (state: LimitState): LeftView => ({
  scope: state.scope,
  actions: said(state.actionsLeft),
  bytes: said(state.bytesLeft),
  perMinute: said(state.rateLeft),
  atOnce: said(state.concurrentLeft),
});

/** Of a lease, by what the latest beat says was spent; what it leaves out counts as unspent. */
export const leftBy = (scopes: readonly ScopeGrant[], spent: HeartbeatBody["spent"]): LeftView[] =>
  scopes.map(({ name, limits }) => {
    const gone = spent.find((s) => s.scope === name);
    const left = (limit: number, by: number): number | null =>
      limit === UNLIMITED ? null : Math.max(0, limit - by);
    return {
      scope: name,
      actions: left(limits.maxActions, gone?.actions ?? 0),
      bytes: left(limits.maxBytes, gone?.bytes ?? 0),
      perMinute: said(limits.ratePerMinute),
      atOnce: said(limits.maxConcurrent),
    };
  });
