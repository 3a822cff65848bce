import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { jsonDepthMax } from "./limits.ts";
import { INEXACT, type Json, parseStrictJson } from "./strict-json.ts";

const read = (text: string): Json | undefined => parseStrictJson(new TextEncoder().encode(text));

describe("strict JSON", () => {
  test.each<[string, Json]>([
    ['"a"', "a"],
    [' [1 , -2,\t0,\n"x",true,false,null ] ', [1n, -2n, 0n, "x", true, false, null]],
    [
      '{"a":{"b":[]},"c":{}}',
      new Map<string, Json>([
        ["a", new Map([["b", []]])],
        ["c", new Map()],
      ]),
    ],
    ["9223372036854775807", 9223372036854775807n],
    ["-9223372036854775808", -9223372036854775808n],
    ["9223372036854775808", INEXACT],
    ["1.0", INEXACT],
    ["1e3", INEXACT],
    ["-0", INEXACT],
    ['"\\u00e9\\ud83d\\udc09\\n\\/\\""', 'é🐉\n/"'],
    ['{"":1}', new Map([["", 1n]])],
    ['{"__proto__":1}', new Map([["__proto__", 1n]])],
  ])("%s is read", (text, value) => {
    expect(read(text)).toEqual(value);
  });

  test.each([
    "",
    " ",
    "1 2",
    "{}x",
    '{"a":1,"a":2}',
    '{"a":1,"\\u0061":2}',
    '{"x":{"a":1,"a":1}}',
    '[{},{},{"b":0,"b":0}]',
    '{"a":1,}',
    "[1,]",
    "[,1]",
    "{a:1}",
    "{'a':1}",
    '{"a" 1}',
    "01",
    "+1",
    ".5",
    "1.",
    "1e",
    "0x1",
    "NaN",
    "Infinity",
    "True",
    "undefined",
    '"a',
    '"a\nb"',
    '"\t"',
    '"\\x41"',
    '"\\u12"',
    '"\\ud800"',
    '"\\udc00\\ud800"',
    "// x\n1",
    "\ufeff1",
    "\u00a01",
    "[1",
    '{"a":1',
  ])("%j is not", (text) => {
    expect(read(text)).toBeUndefined();
  });

  test("bytes that are no UTF-8 are not", () => {
    expect(parseStrictJson(Uint8Array.of(0x22, 0xff, 0x22))).toBeUndefined();
    expect(parseStrictJson(Uint8Array.of(0x22, 0xc0, 0x80, 0x22))).toBeUndefined();
    expect(parseStrictJson(Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22))).toBeUndefined();
  });

  test("is nested as deep as the limit, and no deeper", () => {
    const nested = (n: number) => "[".repeat(n) + "]".repeat(n);
    expect(read(nested(jsonDepthMax))).toBeDefined();
    expect(read(nested(jsonDepthMax + 1))).toBeUndefined();
  });

  /** What JSON.parse makes of the same text. */
  const plain = (json: Json): unknown => {
    if (json instanceof Map) return Object.fromEntries([...json].map(([k, v]) => [k, plain(v)]));
    if (Array.isArray(json)) return json.map(plain);
    return typeof json === "bigint" ? Number(json) : json;
  };

  test("is read as JSON.parse reads it, where no key stands twice and numbers are small", () => {
    const { json } = fc.letrec<{ json: unknown }>((tie) => ({
      json: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom(null, true, false),
        fc.integer().filter((n) => !Object.is(n, -0)),
        fc.string({ unit: "grapheme" }),
        fc.array(tie("json"), { maxLength: 4 }),
        fc.dictionary(fc.string({ unit: "grapheme" }), tie("json"), {
          maxKeys: 4,
          noNullPrototype: true,
        }),
      ),
    }));
    fc.assert(
      fc.property(json, fc.constantFrom(0, 2), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        expect(plain(read(text) as Json)).toEqual(JSON.parse(text));
      }),
      { numRuns: 1000 },
    );
  });

  test("never accepts what JSON.parse refuses", () => {
    const bits = fc.constantFrom(
      ...'{}[],:"\\ \n'.split(""),
      "true",
      "null",
      "1",
      "-",
      "0",
      ".5",
      "e1",
      "\\u0041",
      "a",
    );
    fc.assert(
      fc.property(
        fc.array(bits, { maxLength: 12 }).map((b) => b.join("")),
        (text) => {
          if (read(text) !== undefined) expect(() => JSON.parse(text)).not.toThrow();
        },
      ),
      { numRuns: 5000 },
    );
  });
});
