import type { Claim } from "./claim.ts";
import type { Manifest } from "./manifest.ts";
import { compilePattern, type Pattern } from "./pattern.ts";
import { MCP_CONTROL } from "./protocol-methods.ts";
import type { Rule } from "./rule.ts";
import { evaluate, type Outcome, type When } from "./when.ts";
import { compileWhen } from "./when-parser.ts";

/** One rule of a scope, ready to be matched. */
export interface ScopeRule {
  readonly scope: string;
  readonly rule: Rule;
  readonly pattern: Pattern;
  /** null: it has no condition. */
  readonly when: When | null;
}

/** A manifest's capabilities, compiled once, so that a decision costs one look-up and few patterns. */
export interface Scopes {
  readonly manifest: Manifest;
  /** In the manifest's order: by scope name, then as written. */
  readonly rules: readonly ScopeRule[];
  /**
   * The same rules by what is compared exactly, those without a condition first: what they allow is
   * allowed, whatever stands in a body that conditions would have to wait for.
   */
  readonly byTarget: ReadonlyMap<string, readonly ScopeRule[]>;
}

type Exact = Pick<Rule, "protocol" | "target" | "verb">;
/** A space stands in none of the three. */
const exactKey = (a: Exact): string => (isControl(a) ? controlKey(a) : keyOf(a));
const keyOf = (a: Exact): string => `${a.protocol} ${a.target} ${a.verb}`;
/** Of what every rule at an MCP server allows, whatever else it does. */
const controlKey = (a: Exact): string => `${a.protocol} ${a.target}`;
export const isControl = ({ protocol, verb }: Exact): boolean =>
  protocol === "MCP" && MCP_CONTROL.has(verb);

/** @throws TypeError when a pattern or a condition does not compile, which `checkManifest` would have told. */
export function compileScopes(manifest: Manifest): Scopes {
  const rules: ScopeRule[] = [];
  const byTarget = new Map<string, ScopeRule[]>();
  for (const { name, rules: written } of manifest.capabilities) {
    for (const rule of written) {
      const pattern = compilePattern(rule.path);
      if (typeof pattern === "string") throw new TypeError(`${name}: ${rule.path} ${pattern}`);
      const when = rule.when === "" ? null : compileWhen(rule.when);
      if (typeof when === "string") throw new TypeError(`${name}: ${rule.when} ${when}`);
      const compiled = { scope: name, rule, pattern, when };
      rules.push(compiled);
      add(byTarget, keyOf(rule), compiled);
      if (rule.protocol === "MCP") {
        add(byTarget, controlKey(rule), { ...compiled, pattern: NAMELESS, when: null });
      }
    }
  }
  for (const [key, same] of byTarget) {
    byTarget.set(key, [
      ...same.filter((r) => r.when === null),
      ...same.filter((r) => r.when !== null),
    ]);
  }
  return { manifest, rules, byTarget };
}

const NAMELESS = compilePattern("") as Pattern;

function add(lists: Map<string, ScopeRule[]>, key: string, rule: ScopeRule): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [rule]);
  else list.push(rule);
}

const sameScheme = (rule: Rule, claim: Claim): boolean =>
  rule.scheme === "UNSPECIFIED" || rule.scheme === claim.scheme;

/** Whether a rule speaks of this action. Its condition, if any, is another question. */
export function matchRule(rule: Rule, claim: Claim): boolean {
  if (isControl(claim)) return controlKey(rule) === controlKey(claim) && claim.path === "";
  if (keyOf(rule) !== keyOf(claim) || !sameScheme(rule, claim)) return false;
  const pattern = compilePattern(rule.path);
  return typeof pattern !== "string" && pattern.matches(claim.path);
}

/** All rules that speak of this action, granted or not, in the order in which they are asked. */
export const matching = (scopes: Scopes, claim: Claim): readonly ScopeRule[] =>
  (scopes.byTarget.get(exactKey(claim)) ?? []).filter((r) => speaksOf(r, claim));

const speaksOf = ({ rule, pattern }: ScopeRule, claim: Claim): boolean =>
  sameScheme(rule, claim) && pattern.matches(claim.path);

/** What one rule makes of an action that it speaks of. */
export interface Judged {
  readonly by: ScopeRule;
  readonly granted: boolean;
  /** Of its condition; TRUE where it has none. */
  readonly outcome: Outcome;
}

/** All rules that speak of an action with what they make of it, in the order in which they are asked. */
export const judge = (
  scopes: Scopes,
  held: readonly { readonly name: string }[],
  claim: Claim,
): Judged[] =>
  matching(scopes, claim).map((by) => ({
    by,
    granted: held.some((s) => s.name === by.scope),
    outcome: by.when === null ? HOLDS : evaluate(by.when, claim),
  }));

const HOLDS: Outcome = { outcome: "TRUE" };

/** The first rule of a scope that is held that speaks of this action and whose condition holds. */
export function findRule(
  scopes: Scopes,
  held: readonly { readonly name: string }[],
  claim: Claim,
): ScopeRule | null {
  for (const r of scopes.byTarget.get(exactKey(claim)) ?? []) {
    if (!held.some((s) => s.name === r.scope) || !speaksOf(r, claim)) continue;
    if (r.when === null || evaluate(r.when, claim).outcome === "TRUE") return r;
  }
  return null;
}

/**
 * Whether TLS to a target is passed on unread rather than ended here and looked into: where an opaque
 * rule for it is held, or where the manifest knows no other way to speak of it, so that what is refused
 * is told as what it is. Never where the manifest does not say `opaque`.
 */
export function passesUnread(
  scopes: Scopes,
  held: readonly { readonly name: string }[],
  target: string,
): boolean {
  const opaque = scopes.byTarget.get(exactKey({ protocol: "OPAQUE", target, verb: "" })) ?? [];
  if (opaque.length === 0) return false;
  if (opaque.some((r) => held.some((s) => s.name === r.scope))) return true;
  return !scopes.rules.some(
    ({ rule }) => rule.target === target && rule.protocol !== "OPAQUE" && rule.scheme !== "HTTP",
  );
}

/**
 * The rule that came nearest to an action that none allows, for the sentence that refuses it: at the
 * same target the one that shares the longest beginning of the path, else one that would match at
 * another target. null: none is near.
 */
export function nearest(scopes: Scopes, claim: Claim): ScopeRule | null {
  let best: ScopeRule | null = null;
  let bestScore = 0;
  for (const r of scopes.rules) {
    if (r.rule.protocol !== claim.protocol) continue;
    const near = r.rule.target === claim.target || r.pattern.matches(claim.path);
    if (!near) continue;
    const score =
      1 + shared(r.pattern.prefix, claim.path) + (r.rule.target === claim.target ? 10_000 : 0);
    if (score > bestScore) {
      best = r;
      bestScore = score;
    }
  }
  return best;
}

function shared(a: string, b: string): number {
  let at = 0;
  while (at < a.length && a[at] === b[at]) at++;
  return at;
}
