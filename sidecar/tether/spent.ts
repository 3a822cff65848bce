import { type GrantBody, UNLIMITED } from "../../src/domain/grant.ts";
import type { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import type { Verified } from "../../src/domain/signed.ts";
import type { WorkLedger } from "../ledger/work-ledger.ts";

/**
 * What was spent in each scope whose actions or bytes the grant counts: the issuer draws the next slab
 * from it. Those nearest to the end of what is granted come first, and after them those that are past
 * it, where there is nothing left to ask for.
 */
export function spentUnder(
  { ref, body }: Pick<Verified<GrantBody>, "ref" | "body">,
  ledger: Pick<WorkLedger, "spent">,
  passing: (scope: string) => number,
): HeartbeatBody["spent"] {
  return body.scopes
    .filter(({ limits }) => limits.maxActions !== UNLIMITED || limits.maxBytes !== UNLIMITED)
    .map(({ name, limits }) => {
      const { actions, bytes: charged, reserved } = ledger.spent(ref, name);
      // What is merely reserved may be given back: were it told, more would be lent than a slab.
      const bytes = charged - reserved + passing(name);
      const shares = [shareOf(actions, limits.maxActions), shareOf(bytes, limits.maxBytes)];
      const share = Math.max(0, ...shares.filter((s) => s < 1));
      return { share, spent: { scope: name, actions, bytes } };
    })
    .sort((a, b) => b.share - a.share)
    .map(({ spent }) => spent);
}

const shareOf = (spent: number, limit: number): number => (limit === 0 ? 1 : spent / limit);
