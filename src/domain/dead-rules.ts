import { normaliseHttpPath } from "./http-path.ts";
import { isInvalid } from "./invalid.ts";
import { STAR, tokenise } from "./pattern.ts";
import { coversRule, type Rule } from "./rule.ts";
import { deadChoice } from "./rule-path.ts";
import type { Operator, Value, WhenInput } from "./when.ts";
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
    const condition = deadCondition(rule);
    if (condition !== null) return { index, why: `has a condition (\`when\`) that ${condition}` };
    const other = rules.findIndex(
      // Of two that say the same, the later one goes.
      (r, i) => i !== index && coversRule(r, rule) && (i < index || !coversRule(rule, r)),
    );
    if (other < 0) continue;
    const more = rule.when === "" || rules[other]?.when !== "" ? "" : ", without its condition";
    return { index, why: `allows nothing that rule ${other + 1} does not allow${more}` };
  }
  return null;
}

/** Why a condition never makes a difference; null: it may, or there is none. */
function deadCondition(rule: Rule): string | null {
  const when = rule.when === "" ? "" : compileWhen(rule.when);
  if (typeof when === "string") return null;
  for (const { input, values, operator } of when.tests) {
    const never = values.find((v) => typeof v === "string" && !occurs(input, v, operator, rule));
    if (never !== undefined) {
      return `compares ${input.name} with ${JSON.stringify(never)}, which it never is`;
    }
  }
  return canHold(when, (input) => segments(rule, input)) ? null : "can never hold";
}

/** Whether an input can be this very text at all: paths and header fields hold not just anything. */
function occurs(
  { source }: WhenInput,
  text: string,
  operator: Operator,
  { protocol }: Rule,
): boolean {
  // The beginning of a value, and what only sorts beside one, need not be a whole one.
  const whole = operator === "==" || operator === "!=" || operator === "in";
  if (source === "header") return (whole ? /^(?:[!-~](?:[ -~]*[!-~])?)?$/ : /^[ -~]*$/).test(text);
  if (source !== "path" || text === "") return true;
  if (!whole) return /^[!-.0-~]*$/.test(text);
  if (protocol === "GRPC") return /^[A-Za-z0-9_.]+$/.test(text);
  const normal = normaliseHttpPath(`/${text}`);
  return !text.includes("/") && !isInvalid(normal) && normal.path === `/${text}`;
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
