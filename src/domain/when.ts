import { compare, utf8 } from "./bytes.ts";
import type { Claim } from "./claim.ts";
import { type Input, type InputName, isWellSpelled, type Source } from "./input.ts";

/**
 * Conditions of rules, `when`: a subset of CEL's spelling, wholly specified in docs/formats.md.
 *
 *     json.amount_minor <= 50000 && json.currency in ["EUR", "USD"]
 *
 * Every input that a condition names must be there and be of the type that it is compared as, wherever
 * in the condition it stands; then the condition is true or false, whatever is looked at first.
 */
export interface When<S extends string = Source> {
  readonly source: string;
  readonly root: Clause<S>;
  /** Sorted by name, unique. */
  readonly inputs: readonly WhenInput<S>[];
  readonly tests: readonly Test<S>[];
}

export type ValueType = "INT" | "STRING" | "BOOL";
/** An int64, text, or a truth value. */
export type Value = bigint | string | boolean;

/** An input, and what a condition compares it as. */
export interface WhenInput<S extends string = Source> extends InputName<S> {
  readonly type: ValueType;
}

export type Operator = "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "startsWith";

/** One comparison: the input is on the left. */
export interface Test<S extends string = Source> {
  readonly kind: "test";
  /** As it is written. */
  readonly text: string;
  readonly input: WhenInput<S>;
  readonly operator: Operator;
  /** One, or the list of `in`; all of the input's type. */
  readonly values: readonly Value[];
}

export type Clause<S extends string = Source> =
  | Test<S>
  | { readonly kind: "and" | "or"; readonly text: string; readonly of: readonly Clause<S>[] }
  | { readonly kind: "not"; readonly text: string; readonly of: Clause<S> };

export type Outcome =
  | { readonly outcome: "TRUE" }
  /** `clause`: the part that decides it, as it is written. */
  | { readonly outcome: "FALSE"; readonly clause: string }
  /** `why`: the input that is missing, or what is wrong with it. */
  | { readonly outcome: "UNEVALUABLE"; readonly why: string };

/** Whether a condition holds, by nothing but the claim. Total. */
export function evaluate(when: When, claim: Pick<Claim, "path" | "inputs">): Outcome {
  const values = new Map<string, Value>();
  for (const input of when.inputs) {
    const value = readingOf(input, claim);
    if (typeof value === "object") return { outcome: "UNEVALUABLE", why: value.why };
    values.set(input.name, value);
  }
  const failed = failing(when.root, values);
  return failed === null ? { outcome: "TRUE" } : { outcome: "FALSE", clause: failed.text };
}

/**
 * The part of a condition that makes it false; null: it is true.
 *
 * @param values of all its inputs, by name
 */
export function failing<S extends string>(
  clause: Clause<S>,
  values: ReadonlyMap<string, Value>,
): Clause<S> | null {
  switch (clause.kind) {
    case "test":
      return holds(clause, values.get(clause.input.name) as Value) ? null : clause;
    case "not":
      return failing(clause.of, values) === null ? clause : null;
    case "or":
      return clause.of.some((part) => failing(part, values) === null) ? null : clause;
    case "and":
      for (const part of clause.of) {
        const failed = failing(part, values);
        if (failed !== null) return failed;
      }
      return null;
  }
}

/** @param value of the test's type */
export function holds(
  { operator, values }: Pick<Test, "operator" | "values">,
  value: Value,
): boolean {
  const than = values[0] as Value;
  switch (operator) {
    case "==":
    case "in":
      return values.includes(value);
    case "!=":
      return value !== than;
    case "startsWith":
      return (value as string).startsWith(than as string);
    case "<":
      return order(value, than) < 0;
    case "<=":
      return order(value, than) <= 0;
    case ">":
      return order(value, than) > 0;
    case ">=":
      return order(value, than) >= 0;
  }
}

/** Numbers by value; text by code points, which is the order of its UTF-8 bytes. */
export function order(a: Value, b: Value): number {
  if (typeof a === "string") return compare(utf8(a), utf8(b as string));
  return a < b ? -1 : a > b ? 1 : 0;
}

/** What a claim says of an input, as the type that it is compared as; else what is wrong with it. */
function readingOf(
  { name, source, keys, type }: WhenInput,
  { path, inputs }: Pick<Claim, "path" | "inputs">,
): Value | { readonly why: string } {
  const said: Pick<Input, "type" | "value"> | undefined =
    source === "path" ? segmentOf(path, Number(keys[0])) : inputs.find((i) => i.name === name);
  if (said === undefined) return { why: `${name} is not there` };
  if (said.type === "UNREADABLE") return { why: `${name} cannot be read: ${said.value}` };
  // A path, a query and header fields are text that may say a number; JSON has types of its own.
  const isText = source === "path" || source === "query" || source === "header";
  const fits = said.type === (isText ? "STRING" : type) && isWellSpelled({ ...said, type });
  return fits ? typed(type, said.value) : { why: `${name} is not ${TYPES[type]}` };
}

function segmentOf(path: string, number: number): Pick<Input, "type" | "value"> | undefined {
  const value = path.slice(1).split("/")[number];
  return value === undefined ? undefined : { type: "STRING", value };
}

const typed = (type: ValueType, value: string): Value =>
  type === "INT" ? BigInt(value) : type === "BOOL" ? value === "true" : value;

const TYPES = { INT: "a 64-bit integer", STRING: "text", BOOL: "true or false" } as const;
