import { expectationsBytesMax } from "../domain/limits.ts";
import { REASONS } from "../domain/reason.ts";
import { type Node, readYaml, YamlReader } from "./strict-yaml.ts";

/** One line of a table of what a manifest is to allow. */
export interface Expectation {
  /** From 1. */
  readonly line: number;
  /** As `scope explain` takes it. */
  readonly action: string;
  /** `[name, value, name, value, …]` */
  readonly fields: readonly string[];
  readonly body: string | null;
  /** Scopes that are held; null: all of the manifest's. */
  readonly held: readonly string[] | null;
  /** `allow`, `deny`, or the reason for which it is denied. */
  readonly expect: string;
  /** The scope that is to decide; null: any. */
  readonly scope: string | null;
}

const KEYS = ["action", "headers", "body", "held", "expect", "scope"] as const;

/**
 * Reads expectations strictly, see strict-yaml.ts:
 *
 *     - action: http POST https://ledger.internal/v1/entries
 *       headers: { x-account: "7" }
 *       body: '{"amount_minor": 70000, "currency": "EUR"}'
 *       held: [write:ledger]
 *       expect: CONDITION_FALSE
 *       scope: write:ledger
 *
 * @throws YamlFileError with the line and what to write instead.
 */
export function parseExpectations(text: string): Expectation[] {
  const { document, lines } = readYaml(text, expectationsBytesMax);
  const reader = new YamlReader(lines);
  const items = document === null ? [] : reader.list(document, "expectations");
  if (items.length === 0) reader.fail(document, "has no expectation; write - action: …");
  return items.map((item) => expectation(reader, item));
}

function expectation(reader: YamlReader, item: Node): Expectation {
  const keys = reader.map(item, "an expectation", KEYS);
  const text = (key: (typeof KEYS)[number]): string | null => {
    const node = keys.get(key);
    return node === undefined ? null : reader.text(node, key);
  };
  const [action, expect] = [text("action"), text("expect")];
  if (action === null) reader.fail(item, "an expectation has no `action`");
  const known = ["allow", "deny", ...REASONS];
  if (expect === null || !known.includes(expect)) {
    reader.fail(
      keys.get("expect") ?? item,
      "expect is not allow, deny or a reason such as CONDITION_FALSE",
    );
  }
  const [headers, held] = [keys.get("headers"), keys.get("held")];
  return {
    line: reader.line(item),
    action: action as string,
    fields:
      headers === undefined
        ? []
        : [...reader.map(headers, "headers", [])].flatMap(([name, value]) => [
            name,
            reader.text(value, name),
          ]),
    body: text("body"),
    held: held === undefined ? null : reader.list(held, "held").map((n) => reader.text(n, "held")),
    expect: expect as string,
    scope: text("scope"),
  };
}
