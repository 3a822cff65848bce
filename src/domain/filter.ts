import { failing, type Value, type ValueType, type When } from "./when.ts";
import { parseBy, type Vocabulary } from "./when-parser.ts";

/**
 * Conditions by which a watcher chooses, in the language of rules' conditions. They read what is
 * watched, in place of a request:
 *
 *     organism.state in ["DEGRADED", "QUARANTINED"] && !(organism.name == "canary")
 *     receipt.verdict == "DENIED" && receipt.scope.startsWith("write:")
 */
export interface Filter {
  /** @param values of every field that may be asked for */
  holds(values: ReadonlyMap<string, Value>): boolean;
}

/** What may be asked for, by its name as it is written, and what it is compared as. */
export type FilterFields = Readonly<Record<string, ValueType>>;

/** Everything passes. */
export const ANY: Filter = { holds: () => true };

/** Reads a filter, or says why it is none: `has …`, `reads …`. Nothing written: everything passes. */
export function parseFilter(source: string, fields: FilterFields): Filter | string {
  if (source === "") return ANY;
  const when = parseBy(source, vocabularyOf(fields));
  if (typeof when === "string") return when;
  const wrong = misread(when, fields);
  if (wrong !== null) return wrong;
  return { holds: (values) => failing(when.root, values) === null };
}

function vocabularyOf(fields: FilterFields): Vocabulary<string> {
  const sources = [...new Set(Object.keys(fields).map((name) => name.split(".", 1)[0] as string))];
  const spelling = (source: string) => {
    const example = Object.keys(fields).find((name) => name.startsWith(`${source}.`));
    return `reads ${source} without a field; write ${example}`;
  };
  return { spellings: Object.fromEntries(sources.map((s) => [s, spelling(s)])), deep: sources };
}

const AS = { INT: "a number", STRING: "text", BOOL: "true or false" } as const;

function misread({ inputs }: When<string>, fields: FilterFields): string | null {
  for (const { name, type } of inputs) {
    const known = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (known === undefined) {
      return `reads ${name}; known are ${Object.keys(fields).join(", ")}`;
    }
    if (known !== type) return `compares ${name} as ${AS[type]}; it is ${AS[known]}`;
  }
  return null;
}
