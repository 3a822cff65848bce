import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { alternativesMax, patternMax } from "./limits.ts";
import { compilePattern, type Pattern } from "./pattern.ts";

const compiled = (source: string): Pattern => {
  const pattern = compilePattern(source);
  if (typeof pattern === "string") throw new Error(`${source} ${pattern}`);
  return pattern;
};

/** The definition, word for word, without a thought for time. */
function naive(pattern: string, text: string): boolean {
  if (pattern === "") return text === "";
  if (pattern[0] === "*") {
    if (naive(pattern.slice(1), text)) return true;
    const separator = text[0] === "/" || text.startsWith("%2F");
    return text !== "" && !separator && naive(pattern, text.slice(1));
  }
  if (pattern[0] === "{") {
    const end = pattern.indexOf("}");
    const rest = pattern.slice(end + 1);
    return pattern
      .slice(1, end)
      .split(",")
      .some((choice) => text.startsWith(choice) && naive(rest, text.slice(choice.length)));
  }
  return text[0] === pattern[0] && naive(pattern.slice(1), text.slice(1));
}

describe("a pattern", () => {
  const table: [string, string, boolean][] = [
    ["/payments.v1.Payments/{Get,List}*", "/payments.v1.Payments/Get", true],
    ["/payments.v1.Payments/{Get,List}*", "/payments.v1.Payments/ListAll", true],
    ["/payments.v1.Payments/{Get,List}*", "/payments.v1.Payments/Delete", false],
    ["/payments.v1.Payments/{Get,List}*", "/payments.v1.Payments/Get/x", false],
    ["/payments.v1.Payments/{Get,List}*", "/payments.v1.PaymentsXGet", false],
    ["/a.B/*", "/a.B/", true],
    ["/a.B/*", "/a.B/c/d", false],
    ["/*/c", "/a.B/c", true],
    ["/*/c", "/a/b/c", false],
    ["/a.B/Get", "/a.B/Get", true],
    ["/a.B/Get", "/a.B/get", false],
    ["/a.B/Get", "/aXB/Get", false],
    ["/a.B/{A,AB}{C,BC}", "/a.B/ABC", true],
    ["/a.B/*et*", "/a.B/setup", true],
    ["/files/*", "/files/a%2Fb", false],
    ["/files/*b", "/files/a%2Fb", false],
    ["/@*%2F*", "/@types%2Fnode", true],
    ["/files/*", "/files/a%20b", true],
    ["*", "", true],
    ["", "", true],
    ["", "/", false],
  ];
  test.each(table)("%s against %s: %s", (pattern, text, matches) => {
    expect(compiled(pattern).matches(text)).toBe(matches);
    expect(naive(pattern, text)).toBe(matches);
  });

  test("matches what its definition says, for any pattern and text", () => {
    const letters = fc.constantFrom("a", "b", "/", ".", "%2F");
    const word = fc.string({ unit: letters, minLength: 1, maxLength: 3 });
    const part = fc.oneof(
      word,
      fc.constant("*"),
      fc
        .uniqueArray(word, { minLength: 1, maxLength: 3 })
        .map((choices) => `{${choices.join(",")}}`),
    );
    const pattern = fc
      .array(part, { maxLength: 6 })
      .map((parts) => parts.join("").replace(/\*\*+/g, "*"));
    const text = fc.string({ unit: letters, maxLength: 10 });
    let matched = 0;
    fc.assert(
      fc.property(pattern, text, (p, t) => {
        const expected = naive(p, t);
        if (expected) matched++;
        expect(compiled(p).matches(t)).toBe(expected);
      }),
      { numRuns: 20_000 },
    );
    expect(matched).toBeGreaterThan(500);
  });

  test("takes no longer for a text that nearly matches in many ways", () => {
    const pattern = compiled(`/${"*a".repeat(patternMax / 2 - 1)}b`);
    const text = `/${"a".repeat(4000)}`;
    // A backtracking matcher would take longer than there is time; this one ends.
    expect(pattern.matches(text)).toBe(false);
    expect(pattern.matches(`${text}b`)).toBe(true);
  });

  test.each([
    ["/a/{b", /without `}`/],
    ["/a/b}", /without `{`/],
    ["/a/{}", /empty alternative/],
    ["/a/{b,}", /empty alternative/],
    ["/a/{b,b}", /twice/],
    ["/a/{b,{c,d}}", /only plain text/],
    ["/a/{b*,c}", /only plain text/],
    ["/a/**", /one `\*` is any run/],
    ["/a b", /visible ASCII/],
    ["/ä", /visible ASCII/],
    ["/a\n", /visible ASCII/],
  ])("%j is refused", (source, why) => {
    expect(compilePattern(source)).toMatch(why);
  });

  test("is bounded in length and in alternatives", () => {
    expect(compilePattern("x".repeat(patternMax + 1))).toMatch(/longer than/);
    compiled("x".repeat(patternMax));
    const choices = (n: number) => `{${Array.from({ length: n }, (_, i) => `a${i}`).join(",")}}`;
    expect(compilePattern(choices(alternativesMax + 1))).toMatch(/alternatives/);
    compiled(choices(alternativesMax));
  });
});
