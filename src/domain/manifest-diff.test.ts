import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { grpcRule, manifestBody, sha } from "../../test/fixtures/authority.ts";
import type { Manifest } from "./manifest.ts";
import { diffManifests } from "./manifest-diff.ts";
import { compilePattern } from "./pattern.ts";
import { covers } from "./pattern-cover.ts";
import type { Rule } from "./rule.ts";

const withRules = (...rules: Rule[]): Manifest =>
  manifestBody({ capabilities: rules.length === 0 ? [] : [{ name: "read:payments", rules }] });
const width = (before: Rule[], after: Rule[]) =>
  diffManifests(withRules(...before), withRules(...after)).scopes.map((s) => s.width);

describe("what tells two manifests apart", () => {
  test("is nothing where they are one", () => {
    const listens = { gone: [], come: [] };
    const none = { texts: [], code: [], config: [], scopes: [], servers: [], listens };
    expect(diffManifests(manifestBody(), manifestBody())).toEqual(none);
  });

  test("scopes that are merely listened to come and go", () => {
    const [before, after] = [["read:payments"], ["write:payments"]].map((listens) =>
      manifestBody({ listens }),
    );
    expect(diffManifests(before as Manifest, after as Manifest)).toMatchObject({
      scopes: [],
      listens: { gone: ["read:payments"], come: ["write:payments"] },
    });
  });

  test("files come, go and change by what is in them, not by their size", () => {
    const file = (path: string, content: string) => ({ path, sha256: sha(content), size: 4 });
    const before = manifestBody({
      code: [file("a.py", "a"), file("b.py", "b"), file("c.py", "c")],
    });
    const after = manifestBody({ code: [file("b.py", "b"), file("c.py", "d"), file("d.py", "d")] });
    expect(diffManifests(before, after).code).toEqual([
      { path: "a.py", before: before.code[0], after: null },
      { path: "c.py", before: before.code[2], after: after.code[1] },
      { path: "d.py", before: null, after: after.code[2] },
    ]);
  });

  test("its name, version and runtime", () => {
    const after = manifestBody({ agentVersion: "v8", runtime: "python3.13" });
    expect(diffManifests(manifestBody(), after).texts.map((t) => t.field)).toEqual([
      "agentVersion",
      "runtime",
    ]);
  });

  const get = grpcRule("/a.B/Get");
  const reads = grpcRule("/a.B/{Get,List}*");
  const elsewhere = { ...get, target: "other.internal:443" };
  const guarded = { ...get, when: "json.amount <= 5" };
  test.each<[string, Rule[], Rule[], string[]]>([
    ["a scope that is new", [], [get], ["ADDED"]],
    ["one that is gone", [get], [], ["REMOVED"]],
    ["a further rule", [get], [get, elsewhere], ["WIDENED"]],
    ["a wider pattern", [get], [reads], ["WIDENED"]],
    ["a narrower one", [reads], [get], ["NARROWED"]],
    ["a condition that is gone", [guarded], [get], ["WIDENED"]],
    ["a condition that is new", [get], [guarded], ["NARROWED"]],
    ["another place", [get], [elsewhere], ["CHANGED"]],
    [
      "the same in other words",
      [grpcRule("/a.B/{Get,List}")],
      [grpcRule("/a.B/{List,Get}")],
      ["REWORDED"],
    ],
    ["nothing but their order", [get, elsewhere], [elsewhere, get], []],
  ])("%s", (_, before, after, expected) => {
    expect(width(before, after)).toEqual(expected);
  });
});

describe("a pattern covers another", () => {
  test.each<[string, string, boolean]>([
    ["/a/*", "/a/b", true],
    ["/a/*", "/a/", true],
    ["/a/*", "/a/b/c", false],
    ["/a/*", "/a/*b*", true],
    ["/a/*b", "/a/*", false],
    ["/a/{b,c}*", "/a/{c,b}", true],
    ["/a/{b,c}", "/a/{b,d}", false],
    ["/*/*", "/a/*", true],
    ["/a*", "/a/*", false],
    ["/a", "/a", true],
    ["/*a*", "/*aa*", true],
    ["/*aa*", "/*a*", false],
    ["/*", "/a%2Fb", false],
    ["/*", "/a%2Gb", true],
    ["/*%2F*", "/a%2F{b,c}", true],
    ["/a%2F*", "/a%2Fb%2Fc", false],
    ["/*F", "/*%2F", false],
    ["/%*", "/%2F", false],
  ])("%s and %s: %s", (wide, narrow, expected) => {
    expect(covers(wide, narrow)).toBe(expected);
  });

  const piece = fc.constantFrom("*", "a", "b", "/", "%2F", "{a,b}", "{ab,a}");
  const pattern = fc
    .array(piece, { maxLength: 6 })
    .map((parts) => `/${parts.join("")}`.replace(/\*+/g, "*"));
  const compiled = (source: string) => {
    const made = compilePattern(source);
    if (typeof made === "string") throw new Error(made);
    return made;
  };

  test("exactly where no text shows otherwise", () => {
    const texts = ["", "a", "b", "/", "c"].flatMap((a) =>
      ["", "a", "b", "%2F", "ab"].flatMap((b) =>
        ["", "a", "ba", "/b", "c"].flatMap((c) => ["", "a", "b"].map((d) => `/${a}${b}${c}${d}`)),
      ),
    );
    fc.assert(
      fc.property(pattern, pattern, (wide, narrow) => {
        const [w, n] = [compiled(wide), compiled(narrow)];
        const shown = texts.find((t) => n.matches(t) && !w.matches(t));
        if (covers(wide, narrow)) expect(shown).toBeUndefined();
        expect(covers(wide, wide)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});
