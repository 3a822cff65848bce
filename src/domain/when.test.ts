import { readFileSync } from "node:fs";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Input } from "./input.ts";
import { inputsProblem } from "./input.ts";
import { alternativesMax, inputKeysMax, whenDepthMax, whenMax, whenTestsMax } from "./limits.ts";
import { type Clause, evaluate, type When } from "./when.ts";
import { canHold } from "./when-holds.ts";
import { compileWhen, parseWhen } from "./when-parser.ts";

/** The table that binds every implementation; the verifier in another language runs it, too. */
const table = JSON.parse(
  readFileSync(new URL("../../test/vectors/conditions.json", import.meta.url), "utf8"),
) as {
  evaluations: {
    when: string;
    path?: string;
    inputs?: Input[];
    outcome: string;
    clause?: string;
  }[];
  malformed: string[];
  never: string[];
  satisfiable: string[];
};

const read = (source: string): When => {
  const when = compileWhen(source);
  if (typeof when === "string") throw new Error(`${source} ${when}`);
  return when;
};

describe("the conformance table", () => {
  test.each(table.evaluations)(
    "$when: $outcome",
    ({ when, path = "/", inputs = [], ...expected }) => {
      // A path segment among the inputs is there to be ignored; any other stands as claims list it.
      if (!inputs.some((i) => i.name.startsWith("path"))) {
        const fits = inputs.filter((i) => i.type !== "BOOL" || /^(?:true|false)$/.test(i.value));
        expect(inputsProblem(fits)).toBeNull();
      }
      const { outcome, ...rest } = evaluate(read(when), { path, inputs });
      expect(outcome).toBe(expected.outcome);
      if (expected.clause !== undefined) expect(rest).toEqual({ clause: expected.clause });
    },
  );

  test.each(table.malformed)("%j is no condition, and it is said why", (source) => {
    const why = parseWhen(source);
    expect(why).toEqual(expect.any(String));
    // Told after "has a condition that".
    expect(why).toMatch(/^(?:has|reads|is|ends|compares) \S/);
  });

  test.each(table.never)("%j never holds", (source) => {
    expect(canHold(read(source), () => null)).toBe(false);
  });

  test.each(table.satisfiable)("%j can hold", (source) => {
    expect(canHold(read(source), () => null)).toBe(true);
  });
});

test.each([
  ["json.a = 1", /write == to compare/],
  ["json.a == 'EUR'", /write "text" in double ones/],
  ["header.x-account == 1", /in brackets: header\["x-account"\]/],
  ['json["a"] == 1', /write \.a$/],
  ["json.in == 1", /write \["in"\]/],
  ["!json.a == 1", /write !\(json\.a == 1\)/],
  ["json.a == 1.5", /1\.5, which is no 64-bit integer/],
  ["json.a == json.b", /what is no literal/],
  ["path == 1", /write path\[0\] for the first/],
  ["json.items[0] == 1", /a list's element/],
  ['json.a == 1 || json.a == "x"', /as a number and as text; it can never be both/],
  ["body.a == 1", /known are path, query, header, json, args/],
  ["json.a == 1 &&", /^ends too early/],
  ["json.a == 1) && json.b", /`\)` at character 12/],
])("%s is told what to write instead", (source, why) => {
  expect(parseWhen(source)).toMatch(why);
});

test("the inputs that a condition reads are told once each, sorted, with their types", () => {
  expect(read('json.b == 1 && query.a == "x" && json.b < 7 && path[0] == "v1"').inputs).toEqual([
    { name: "json.b", source: "json", keys: ["b"], type: "INT" },
    { name: "path[0]", source: "path", keys: ["0"], type: "STRING" },
    { name: "query.a", source: "query", keys: ["a"], type: "STRING" },
  ]);
});

describe("limits", () => {
  const times = (n: number, part: (i: number) => string, by: string) =>
    Array.from({ length: n }, (_, i) => part(i)).join(by);
  test.each<[string, (n: number) => string, number]>([
    ["characters", (n) => `json.a == "${"x".repeat(n - 12)}"`, whenMax],
    ["comparisons", (n) => times(n, (i) => `json.a${i}`, " && "), whenTestsMax],
    ["parentheses", (n) => `${"(".repeat(n)}json.a${")".repeat(n)}`, whenDepthMax],
    ["negations", (n) => `${"!".repeat(n)}json.a`, whenDepthMax],
    ["literals", (n) => `json.a in [${times(n, String, ", ")}]`, alternativesMax],
    ["keys", (n) => `json.${times(n, () => "a", ".")} == 1`, inputKeysMax],
  ])("%s: as many as allowed, and not one more", (_, make, most) => {
    expect(typeof parseWhen(make(most))).toBe("object");
    expect(typeof parseWhen(make(most + 1))).toBe("string");
  });
});

/** Conditions over few inputs of few values, so that all of them can be tried. */
const VALUES = {
  "json.n": ["-1", "0", "1", "2", "3", "4"],
  "json.s": ["", "A", "a", "aa", "ab", "b", "c"],
  "json.t": ["true", "false"],
};
const atoms = fc.constantFrom(
  "json.n == 1",
  "json.n != 2",
  "json.n < 2",
  "json.n >= 1",
  "2 < json.n",
  "json.n in [0, 3]",
  'json.s == "a"',
  'json.s < "ab"',
  'json.s.startsWith("a")',
  'json.s in ["", "b"]',
  "json.t",
  "!json.t",
  "json.t == false",
);
const conditions = fc.letrec<{ clause: string }>((tie) => ({
  clause: fc.oneof(
    { maxDepth: 3 },
    atoms,
    fc.tuple(tie("clause"), tie("clause")).map(([a, b]) => `(${a} && ${b})`),
    fc.tuple(tie("clause"), tie("clause")).map(([a, b]) => `(${a} || ${b})`),
    tie("clause").map((a) => `!(${a})`),
  ),
})).clause;

const claims: Input[][] = VALUES["json.n"].flatMap((n) =>
  VALUES["json.s"].flatMap((s) =>
    VALUES["json.t"].map((t): Input[] => [
      { name: "json.n", type: "INT", value: n },
      { name: "json.s", type: "STRING", value: s },
      { name: "json.t", type: "BOOL", value: t },
    ]),
  ),
);

/** The same condition as JavaScript reads it: an independent reading of the same words. */
function asScript(source: string): (inputs: readonly Input[]) => boolean {
  const text = source.replace(/(json\.[nst]) in (\[[^\]]*\])/g, "$2.includes($1)");
  const script = runInNewContext(`(json) => ${text}`) as (json: object) => boolean;
  return ([n, s, t]) => script({ n: Number(n?.value), s: s?.value, t: t?.value === "true" });
}

test("any condition comes out as the same words do in JavaScript, and can hold exactly if it does for some request", () => {
  fc.assert(
    fc.property(conditions, (source) => {
      const when = parseWhen(source);
      // Some are too long, or nested too deep.
      fc.pre(typeof when !== "string");
      const script = asScript(source);
      const found = claims.map((inputs) => evaluate(when as When, { path: "/", inputs }).outcome);
      expect(found).toEqual(claims.map((c) => (script(c) ? "TRUE" : "FALSE")));
      // Their values stand for every place that these atoms tell apart.
      expect(canHold(when as When, () => null)).toBe(found.includes("TRUE"));
    }),
    { numRuns: 300 },
  );
});

test("what fails is told by a part that is itself false", () => {
  fc.assert(
    fc.property(conditions, fc.constantFrom(...claims), (source, inputs) => {
      const when = parseWhen(source);
      fc.pre(typeof when !== "string");
      const told = evaluate(when as When, { path: "/", inputs });
      fc.pre(told.outcome === "FALSE");
      expect(source).toContain((told as { clause: string }).clause);
      expect(asScript((told as { clause: string }).clause)(inputs)).toBe(false);
    }),
    { numRuns: 300 },
  );
});

test("whatever is missing, nothing is decided", () => {
  fc.assert(
    fc.property(conditions, fc.constantFrom(...claims), fc.nat(2), (source, inputs, gone) => {
      const when = parseWhen(source);
      fc.pre(typeof when !== "string");
      const { name } = inputs[gone] as Input;
      fc.pre((when as When).inputs.some((i) => i.name === name));
      const rest = inputs.filter((i) => i.name !== name);
      expect(evaluate(when as When, { path: "/", inputs: rest })).toEqual({
        outcome: "UNEVALUABLE",
        why: `${name} is not there`,
      });
    }),
    { numRuns: 300 },
  );
});

test("any text is read as a condition or refused, and never throws", () => {
  const words = fc.constantFrom(
    ...'json path query header args . [ ] ( ) ! == != < <= > >= && || in startsWith 1 -2 "a" "\\ true , a'.split(
      " ",
    ),
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(words, { maxLength: 12 }).map((w) => w.join(" ")),
      ),
      (s) => {
        const when = parseWhen(s);
        if (typeof when === "string") return;
        expect(when.source.slice(0)).toBe(s);
        expect(textsOf(when.root).every((t) => s.includes(t))).toBe(true);
      },
    ),
    { numRuns: 300 },
  );
});

const textsOf = (clause: Clause): string[] => [
  clause.text,
  ...(clause.kind === "test"
    ? []
    : clause.kind === "not"
      ? textsOf(clause.of)
      : clause.of.flatMap(textsOf)),
];
