import { describe, expect, test } from "vitest";
import { type FilterFields, parseFilter } from "./filter.ts";
import type { Value } from "./when.ts";

const FIELDS: FilterFields = {
  "organism.name": "STRING",
  "organism.since_us": "INT",
  "organism.conditions.SILENT": "BOOL",
  "receipt.scope": "STRING",
};
const VALUES = new Map<string, Value>([
  ["organism.name", "reconciler"],
  ["organism.since_us", 42n],
  ["organism.conditions.SILENT", true],
  ["receipt.scope", "write:ledger"],
]);

function holds(source: string): boolean {
  const filter = parseFilter(source, FIELDS);
  if (typeof filter === "string") throw new Error(filter);
  return filter.holds(VALUES);
}

describe("a filter chooses by the language of rules' conditions", () => {
  test.each([
    ["", true],
    ['organism.name == "reconciler"', true],
    ['organism.name in ["a", "b"]', false],
    ["organism.conditions.SILENT", true],
    ["!organism.conditions.SILENT", false],
    ["organism.since_us >= 42 && 43 > organism.since_us", true],
    ['receipt.scope.startsWith("write:") || organism.since_us == 1', true],
    ['!(receipt.scope.startsWith("write:"))', false],
  ])("%s", (source, expected) => {
    expect(holds(source)).toBe(expected);
  });
});

describe("what is no filter is told with what would be one", () => {
  test.each([
    ['json.name == "x"', /reads `json`; known are organism, receipt/],
    ['organism.nom == "x"', /reads organism\.nom; known are organism\.name, /],
    ['organism.toString == "x"', /reads organism\.toString; known are/],
    ["organism == 1", /reads organism without a field; write organism\.name/],
    ["organism.name == 1", /compares organism\.name as a number; it is text/],
    ["organism.name", /compares organism\.name as true or false; it is text/],
    ['organism.name == "x" &&', /ends too early/],
  ])("%s", (source, why) => {
    expect(parseFilter(source, FIELDS)).toMatch(why);
  });
});
