import { compare, utf8 } from "./bytes.ts";
import { message, oneOf, str } from "./canonical.ts";
import { inputValueMax } from "./limits.ts";

/** Where values are read that conditions speak of. Segments of the path stand in the claim's path itself. */
export type Source = "path" | "query" | "header" | "json" | "args";

/** Where one value is read. Conditions of rules read `Source`; filters of watches have words of their own. */
export interface InputName<S extends string = Source> {
  /** In its one spelling: `path[1]`, `query.limit`, `header["x-account"]`, `json.a.b`. */
  readonly name: string;
  readonly source: S;
  /** Of a path segment: its number, from 0, in decimal. */
  readonly keys: readonly string[];
}

/** Why a value that is there cannot be judged. */
const UNREADABLE = [
  /** It, or what a server may take for it, stands there more than once. */
  "TWICE",
  /** Its escapes or bytes are not one text for everybody. */
  "NOT_TEXT",
  "TOO_LONG",
  /** A number that is no int64 written in digits alone. */
  "NOT_INT64",
  /** null, a list or an object. */
  "NOT_SCALAR",
  /** The body says that it is something else, or is encoded. */
  "NOT_JSON",
  /** The body is not strict JSON: a key stands twice, or a reader would have to guess. */
  "BAD_JSON",
  "BODY_TOO_LONG",
  "BODY_TOO_LATE",
  "BODY_BROKEN_OFF",
] as const;
export type Unreadable = (typeof UNREADABLE)[number];

/**
 * A value that a condition asks for, typed and spelled one way: `42`, `true`, or the text itself. What
 * is there but UNREADABLE says why; what is not there is not listed.
 */
export const Input = message("input", {
  name: str(1),
  type: oneOf(2, ["UNSPECIFIED", "INT", "STRING", "BOOL", "UNREADABLE"] as const),
  value: str(3),
});
export type Input = ReturnType<typeof Input.decode>;

/**
 * The input that says which receipt an action goes on from, of MCP: a task's, or that of a call whose
 * result asked for something. No condition can read it, and it changes no decision.
 */
export const CONTINUES = "continues";

/** A key that stands behind a dot; any other stands in `["…"]`. */
const PLAIN = /^[A-Za-z_][A-Za-z0-9_]*$/;
/** Words of CEL's own. */
const RESERVED = ["true", "false", "null", "in"];
export const isPlainKey = (key: string): boolean => PLAIN.test(key) && !RESERVED.includes(key);

/** The one spelling of a name. */
export function inputName<S extends string>(source: S, keys: readonly string[]): InputName<S> {
  const spell = (key: string): string =>
    source === "path"
      ? `[${key}]`
      : isPlainKey(key)
        ? `.${key}`
        : `["${key.replace(/["\\]/g, "\\$&")}"]`;
  return { name: source + keys.map(spell).join(""), source, keys };
}

/** In the order in which a claim lists them. */
export const byName = (a: { readonly name: string }, b: { readonly name: string }): number =>
  compare(utf8(a.name), utf8(b.name));

/** What is wrong with the inputs of a claim; null: sorted, unique, each in its one spelling. */
export function inputsProblem(inputs: readonly Input[]): string | null {
  for (const [i, input] of inputs.entries()) {
    const before = inputs[i - 1];
    if (before !== undefined && byName(before, input) >= 0) {
      return `its inputs are not sorted and unique at ${input.name}`;
    }
    if (input.name.startsWith("path")) return "a segment of its path is listed as an input";
    if (!isWellSpelled(input)) return `${input.name} is not spelled as its type is`;
  }
  return null;
}

/** Whether a value is spelled the one way of its type: `-42`, `true`, any text that is not too long. */
export function isWellSpelled({ type, value }: Pick<Input, "type" | "value">): boolean {
  switch (type) {
    case "INT":
      return isInt64(value);
    case "BOOL":
      return value === "true" || value === "false";
    case "STRING":
      return value.length <= inputValueMax;
    case "UNREADABLE":
      return (UNREADABLE as readonly string[]).includes(value);
    default:
      return false;
  }
}

const INT64_MAX = 2n ** 63n - 1n;

/** Decimal, no zeros in front, no `-0`, from −2^63 to 2^63 − 1. */
export function isInt64(text: string): boolean {
  if (!/^(?:0|-?[1-9][0-9]{0,18})$/.test(text)) return false;
  const value = BigInt(text);
  return value <= INT64_MAX && value >= -INT64_MAX - 1n;
}
