import { decideByScope } from "./authorize.ts";
import type { Claim } from "./claim.ts";
import { NO_LIMITS } from "./grant.ts";
import { type Action, type LeastRule, leastRules, type Seen } from "./least-rules.ts";
import type { Capability, Manifest } from "./manifest.ts";
import type { Reason } from "./reason.ts";
import type { ReceiptHeader } from "./receipt.ts";
import { suggestScopeFor } from "./remedy.ts";
import { coversRule, type Rule, sameRule } from "./rule.ts";
import { compileScopes, isControl } from "./scope.ts";

/** A receipt as far as it teaches: its claim is null where it has none, or where it is withheld. */
export interface Taught {
  readonly header: Pick<ReceiptHeader, "kind" | "reason" | "count" | "egressLastUs">;
  readonly claim: Claim | null;
}

interface Scoped {
  readonly scope: string;
  readonly rule: Rule;
}

/** What the receipts of a run under a learning grant say that an agent needs. */
export interface Lesson {
  /** Actions that were let pass. */
  readonly actions: number;
  /** Rules of the manifest that something stood on, as they are written there. */
  readonly kept: readonly (Scoped & { readonly count: number })[];
  /** Rules of the manifest that nothing stood on. */
  readonly idle: readonly Scoped[];
  /** Rules for what passed outside of the manifest: the least. */
  readonly learnt: readonly (Scoped & Omit<LeastRule, "rule">)[];
  /** What passed though the condition of a rule did not hold: only people can say which of the two was wrong. */
  readonly unmet: readonly (Seen & { readonly scope: string })[];
  /**
   * What was not carried out, although everything was to pass: no rule is drafted for it. One that names
   * an address of a private network would open it.
   */
  readonly refused: readonly (Seen & { readonly reason: Reason })[];
  /** What passed, and no rule can say. */
  readonly unwritten: readonly (Seen & { readonly why: string })[];
}

/**
 * What a manifest needs for all that its agent did, and no more. Rules that people wrote stay as they
 * wrote them where something stood on them. Where one of them has a condition, nothing is drafted with
 * a star beside it, which would let in what the condition keeps out.
 */
export function lessonOf(manifest: Manifest, receipts: Iterable<Taught>): Lesson {
  const scopes = compileScopes(manifest);
  const granted = manifest.capabilities.map(({ name }) => ({ name, limits: NO_LIMITS }));
  const written = manifest.capabilities.flatMap(({ name, rules }) =>
    rules.map((rule) => ({ scope: name, rule, count: 0 })),
  );
  const seen = new Tally<object>();
  const unmet = new Tally<{ scope: string }>();
  const refused = new Tally<{ reason: Reason }>();
  let actions = 0;
  for (const { header, claim } of receipts) {
    if (header.kind !== "ACTION" && header.kind !== "DENIAL") continue;
    const count = Math.max(1, header.count);
    if (header.kind === "DENIAL" || claim === null) {
      refused.add(claim, { reason: header.reason }, count);
      continue;
    }
    // Decided anew by the rules alone: what a lease let pass is what is to be learnt.
    const decision = decideByScope({ scopes, granted }, granted, { ...claim, limitState: [] });
    const isOutside = !decision.allowed && decision.reason === "SCOPE_NOT_GRANTED";
    if (isOutside && header.egressLastUs === 0) {
      refused.add(claim, { reason: header.reason }, count);
      continue;
    }
    actions += count;
    if (decision.allowed) {
      const by = written.find(
        ({ scope, rule }) =>
          scope === decision.scope && decision.rule !== null && sameRule(rule, decision.rule),
      );
      if (by !== undefined) by.count += count;
    } else if (isOutside) seen.add(claim, {}, count);
    else unmet.add(claim, { scope: decision.scope }, count);
  }
  const conditional = written.filter(({ rule }) => rule.when !== "");
  // What MCP needs around a call takes no rule of its own: any rule at the server allows it.
  const servers = new Set(
    seen.all
      .filter((s) => !isControl(s.action))
      .map((s) => `${s.action.protocol} ${s.action.target}`),
  );
  const needed = seen.all.filter(
    ({ action: a }) => !isControl(a) || !servers.has(`${a.protocol} ${a.target}`),
  );
  const { rules, unwritten } = leastRules(needed, (place) =>
    conditional.some(
      ({ rule }) =>
        rule.protocol === place.protocol &&
        rule.target === place.target &&
        rule.verb === place.verb,
    ),
  );
  const learnt = rules.map((r) => {
    const instead = written.filter(({ rule }) => coversRule(r.rule, rule));
    const count = instead.reduce((sum, w) => sum + w.count, r.count);
    return { ...r, count, scope: suggestScopeFor(r.rule, manifest.listens) ?? "use:learnt" };
  });
  const inLearnt = ({ rule }: Scoped): boolean => learnt.some((l) => coversRule(l.rule, rule));
  return {
    actions,
    kept: written.filter((w) => w.count > 0 && !inLearnt(w)),
    idle: written.filter((w) => w.count === 0 && !inLearnt(w)),
    learnt,
    unmet: unmet.all,
    refused: refused.all,
    unwritten,
  };
}

/** The capabilities that a lesson comes to, by name. */
export function capabilitiesOf({ kept, learnt }: Pick<Lesson, "kept" | "learnt">): Capability[] {
  const byScope = Map.groupBy([...kept, ...learnt], ({ scope }) => scope);
  return [...byScope]
    .map(([name, all]) => ({ name, rules: all.map(({ rule }) => rule) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Actions that are alike, counted once. */
class Tally<T extends object> {
  readonly #held = new Map<string, Seen & T>();

  add(claim: Claim | null, more: T, count: number): void {
    const action = claim === null ? NOTHING : actionOf(claim);
    const name = JSON.stringify([action, more]);
    const before = this.#held.get(name)?.count ?? 0;
    this.#held.set(name, { ...more, action, count: before + count });
  }

  get all(): readonly (Seen & T)[] {
    return [...this.#held.values()];
  }
}

const actionOf = ({ protocol, target, verb, path, scheme }: Claim): Action => ({
  protocol,
  target,
  verb,
  path,
  scheme,
});
const NOTHING: Action = {
  protocol: "UNSPECIFIED",
  target: "",
  verb: "",
  path: "",
  scheme: "UNSPECIFIED",
};
