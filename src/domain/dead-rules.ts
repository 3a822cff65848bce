import { STAR, tokenise } from "./pattern.ts";
import { coversRule, type Rule } from "./rule.ts";
import { deadChoice } from "./rule-path.ts";
import type { Value, WhenInput } from "./when.ts";
import { canHold } from "./when-holds.ts";
import { compileWhen } from "./when-parser.ts";

/**
 * The first rule of a scope that is sound and yet decides nothing, and why. As a policy it would only
 * seem to say something, so it is not recorded.
 */
export function deadRule(
  rules: readonly Rule[],
): { readonly index: number; readonly why: string } | null {
  for (const [index, rule] of rules.entries()) {
    const choice = deadChoice(rule.protocol, rule.path);
    if (choice !== null) return { index, why: `has the alternative ${choice}, which no path has` };
    const when = rule.when === "" ? null : compileWhen(rule.when);
    if (when !== null && typeof when !== "string" && !canHold(when, (i) => segments(rule, i))) {
      return { index, why: "has a condition (`when`) that can never hold" };
    }
    const other = rules.findIndex(
      // Of two that say the same, the later one goes.
      (r, i) => i !== index && coversRule(r, rule) && (i < index || !coversRule(rule, r)),
    );
    if (other < 0) continue;
    const condition =
      rule.when === "" || rules[other]?.when !== "" ? "" : ", without its condition";
    return { index, why: `allows nothing that rule ${other + 1} does not allow${condition}` };
  }
  return null;
}

/** What a segment of the path can be where the rule's pattern leaves no choice, or little; null: anything. */
function segments({ path }: Rule, { source, keys, type }: WhenInput): readonly Value[] | null {
  if (source !== "path" || type !== "STRING" || /\{[^}]*\//.test(path)) return null;
  const tokens = tokenise(path.split("/")[Number(keys[0]) + 1] ?? "");
  if (typeof tokens === "string" || tokens.length > 1) return null;
  const [token = ""] = tokens;
  if (token === STAR) return null;
  return typeof token === "string" ? [token] : (token as readonly string[]);
}
