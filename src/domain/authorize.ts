import { actionText } from "./action-text.ts";
import { equal } from "./bytes.ts";
import type { Claim, LimitState } from "./claim.ts";
import type { ScopeGrant } from "./grant.ts";
import type { LeaseBody } from "./lease.ts";
import { type Needs, needsOf } from "./read-inputs.ts";
import type { Reason } from "./reason.ts";
import { remedyFor } from "./remedy.ts";
import type { Rule } from "./rule.ts";
import { findRule, judge, matching, nearest, type Scopes } from "./scope.ts";
import type { Verified } from "./signed.ts";

/** Whose authority it is, and what it was measured to be. */
export interface Subject {
  readonly tenantId: string;
  readonly instanceId: string;
  readonly ledgerId: Uint8Array;
  readonly manifestHash: Uint8Array;
  /** Compiled from the manifest of that hash. */
  readonly scopes: Scopes;
  /** What operators granted, for the words of a refusal: a lease holds a slab of it. */
  readonly granted: readonly ScopeGrant[];
}

/** Everything that a decision rests on, besides the claim and the time. */
export interface Authority {
  readonly subject: Subject;
  /** The control plane has recorded the manifest. */
  readonly manifestRecorded: boolean;
  /** Operators took it back. */
  readonly retired: boolean;
  /** What was measured is no longer what is there. */
  readonly drifted: boolean;
  readonly quarantined: boolean;
  readonly stopped: boolean;
  /** Verified against the pinned keyset: without a keyset there is none. */
  readonly lease: Verified<LeaseBody> | null;
  /** The lease held was taken back. */
  readonly revoked: boolean;
  /** Its monotonic deadline has passed, whatever the wall clock says: the earlier of the two ends it. */
  readonly overdue: boolean;
}

export interface Allowed {
  readonly allowed: true;
  readonly scope: string;
  /** null: no rule of the manifest speaks of it; it is merely observed. */
  readonly rule: Rule | null;
  /** A rule of the manifest names the action's very target, whatever else it says. */
  readonly named: boolean;
  /** What it is refused for as soon as its lease no longer observes; null: its scope allows it. */
  readonly wouldDeny: Refused | null;
}

export interface Refused {
  readonly allowed: false;
  readonly reason: Reason;
  /** The scope concerned, or the one that came nearest; empty: none. */
  readonly scope: string;
  /** The rule whose condition refused it; null: none did. */
  readonly rule: Rule | null;
  /** What the request would have to show for conditions to allow it; null: nothing of the kind would help. */
  readonly needs: Needs | null;
  /** One sentence for whoever asked. */
  readonly detail: string;
  /** What to write and to type so that it would be allowed; empty: nothing of the kind would help. */
  readonly remedy: string;
}

/**
 * Whether this action may happen now. Pure and total, in one order: the first thing that is wrong is
 * the reason. What is unknown denies. Limits are judged by the claim's `limitState`, where it holds an
 * entry for the scope; taking from them, and the durable intent, are the gate's.
 *
 * @param nowUs wall clock, microseconds since the epoch
 */
export function authorize(authority: Authority, claim: Claim, nowUs: number): Allowed | Refused {
  if (!authority.manifestRecorded) {
    return refused("MANIFEST_NOT_RECORDED", "no operator has recorded this agent's manifest");
  }
  if (authority.retired) {
    return refused("MANIFEST_RETIRED", "operators have retired this agent's manifest");
  }
  if (authority.drifted) {
    return refused("MANIFEST_DRIFT", "the agent's files are no longer those of its manifest");
  }
  if (authority.quarantined) {
    return refused("QUARANTINED", "the agent is in quarantine until an operator releases it");
  }
  if (authority.stopped) return refused("STOPPED", "the agent was stopped");
  const lease = authority.lease;
  if (lease === null) return refused("NO_LEASE", "no lease is held");
  if (authority.revoked) return refused("LEASE_REVOKED", "the lease was taken back");
  if (!isOf(lease.body, authority.subject)) {
    return refused(
      "LEASE_MISMATCH",
      "the lease is for another tenant, instance, ledger or manifest",
    );
  }
  // Written so that a time that is no number is outside.
  if (!(nowUs >= lease.body.notBeforeUs)) {
    return refused("LEASE_NOT_YET_VALID", "the lease has not begun");
  }
  if (!(nowUs < lease.body.notAfterUs) || authority.overdue) {
    return refused("LEASE_EXPIRED", "the lease has ended");
  }
  const decision = decideByScope(authority.subject, lease.body.scopes, claim);
  if (decision.allowed || !(nowUs < lease.body.observeUntilUs)) return decision;
  return observe(authority.subject.scopes, decision, claim);
}

/**
 * What scopes and their conditions refuse passes where a lease observes; nothing else does. What is
 * opaque cannot be observed.
 */
function observe(scopes: Scopes, refusal: Refused, claim: Claim): Allowed | Refused {
  if (claim.protocol === "OPAQUE") return refusal;
  const [match] = matching(scopes, claim);
  const named = scopes.rules.some(({ rule }) => rule.target === claim.target);
  const rule = match?.rule ?? null;
  const observed = { allowed: true, rule, named, wouldDeny: refusal } as const;
  switch (refusal.reason) {
    case "SCOPE_NOT_GRANTED":
      // Counted under no scope that is granted: what is merely observed spends nothing of it.
      return { ...observed, scope: match?.scope ?? "" };
    case "CONDITION_FALSE":
    case "CONDITION_UNEVALUABLE":
      return limitSpent(refusal.scope, claim) ?? { ...observed, scope: refusal.scope };
    default:
      return refusal;
  }
}

/** The part of the decision that rests on the manifest, what is held of it, and the claim. */
export function decideByScope(
  subject: Pick<Subject, "scopes" | "granted">,
  held: readonly ScopeGrant[],
  claim: Claim,
): Allowed | Refused {
  const found = findRule(subject.scopes, held, claim);
  if (found === null) {
    return byCondition(subject.scopes, held, claim) ?? notGranted(subject, claim);
  }
  const { scope, rule } = found;
  return limitSpent(scope, claim) ?? { allowed: true, scope, rule, named: true, wouldDeny: null };
}

/** Why no condition lets it in, told by the first rule that was asked; null: no granted rule speaks of it. */
function byCondition(scopes: Scopes, held: readonly ScopeGrant[], claim: Claim): Refused | null {
  const asked = judge(scopes, held, claim).filter((j) => j.granted);
  const [first] = asked;
  if (first === undefined || first.outcome.outcome === "TRUE") return null;
  const { scope, rule } = first.by;
  const allows = `${scope} allows ${actionText(claim)} only when`;
  const needs = needsOf(asked.flatMap((j) => j.by.when?.inputs ?? []));
  const refusal =
    first.outcome.outcome === "FALSE"
      ? refused("CONDITION_FALSE", `${allows} ${first.outcome.clause}`, scope)
      : refused("CONDITION_UNEVALUABLE", `${allows} ${rule.when}, and ${first.outcome.why}`, scope);
  return { ...refusal, rule, needs };
}

function limitSpent(scope: string, claim: Claim): Refused | null {
  const left = claim.limitState.find((l) => l.scope === scope);
  const spent = left === undefined ? null : spentOf(left);
  if (spent === null) return null;
  return refused("LIMIT_SPENT", `what the lease allows ${scope} is spent: ${spent}`, scope);
}

/** The first limit that leaves nothing, in words; null: all of them leave something. */
function spentOf({ actionsLeft, bytesLeft, concurrentLeft, rateLeft }: LimitState): string | null {
  if (actionsLeft <= 0) return "actions";
  if (bytesLeft <= 0) return "bytes";
  if (concurrentLeft <= 0) return "actions at once";
  return rateLeft <= 0 ? "actions in a minute" : null;
}

function notGranted(
  { scopes, granted }: Pick<Subject, "scopes" | "granted">,
  claim: Claim,
): Refused {
  const [match] = matching(scopes, claim);
  if (match !== undefined) {
    const detail = `${actionText(claim)} needs ${match.scope}, which is not granted`;
    const remedy = remedyFor(scopes.manifest, granted, claim, match.scope);
    return { ...refused("SCOPE_NOT_GRANTED", detail, match.scope), remedy };
  }
  const near = nearest(scopes, claim)?.scope ?? "";
  const detail =
    near === ""
      ? `${actionText(claim)} is in no scope of the manifest`
      : `${actionText(claim)} is in no scope of the manifest; ${near} comes nearest`;
  const remedy = remedyFor(scopes.manifest, granted, claim, null);
  return { ...refused("SCOPE_NOT_GRANTED", detail, near), remedy };
}

const refused = (reason: Reason, detail: string, scope = ""): Refused => ({
  allowed: false,
  reason,
  scope,
  detail,
  remedy: "",
  rule: null,
  needs: null,
});

const isOf = (lease: LeaseBody, subject: Subject): boolean =>
  lease.tenantId === subject.tenantId &&
  lease.instanceId === subject.instanceId &&
  equal(lease.ledgerId, subject.ledgerId) &&
  equal(lease.manifestHash, subject.manifestHash);
