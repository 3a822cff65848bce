import { describe, expect, test } from "vitest";
import { normaliseHttpPath } from "./http-path.ts";
import { claimPathMax } from "./limits.ts";

const path = (sent: string): string => {
  const normal = normaliseHttpPath(sent);
  return "path" in normal ? `${normal.path}${normal.query}` : "refused";
};

describe("a path has one spelling", () => {
  test.each([
    ["/", "/"],
    ["/v1/entries", "/v1/entries"],
    ["/v1/entries/", "/v1/entries/"],
    ["//v1///entries", "/v1/entries"],
    ["/a/./b", "/a/b"],
    ["/a/b/..", "/a/"],
    ["/a/../b", "/b"],
    ["/a/%2e%2e/b", "/b"],
    ["/a/.", "/a/"],
    ["/%61%2D%7e", "/a-~"],
    ["/%c3%a9", "/%C3%A9"],
    ["/{a}|b", "/%7Ba%7D%7Cb"],
    ["/@types%2fnode", "/@types%2Fnode"],
    ["/a;v=1/b", "/a;v=1/b"],
    ["/a...b/..c/c..", "/a...b/..c/c.."],
    ["/a?b=../%2e%zz&c=//", "/a?b=../%2e%zz&c=//"],
    ["/?", "/?"],
    ["/100%25", "/100%25"],
  ])("%s is %s", (sent, normal) => expect(path(sent)).toBe(normal));

  test("and saying it again changes nothing", () => {
    for (const sent of ["//a/../%7Ex/%2f", "/{}/", "/a%20b"]) {
      const once = path(sent);
      if (once !== "refused") expect(path(once)).toBe(once);
    }
  });
});

test.each([
  "",
  "a",
  "*",
  "http://a/",
  "/a#b",
  "/a b",
  "/a\u00e9",
  "/a\tb",
  "/..",
  "/../a",
  "/a/../../b",
  "/a\\..\\b",
  "/a%5c..%5cb",
  "/a%00",
  "/a%0d%0ab",
  "/a%7f",
  "/a%",
  "/a%2",
  "/a%zz",
  "/a/%252e%252e/b",
  "/a%252fb",
  "/a/..%2f..%2fb",
  "/a%2f..",
  "/a%2f%2fb",
  "/%2f",
  "/a/..;/b",
  "/a/.;x/b",
  "/a/%2e%2e;/b",
  "/a%c0%af",
  "/a%ff",
  "/a?b#c",
  "/a?b c",
])("%s is refused: it can be read in two ways", (sent) => expect(path(sent)).toBe("refused"));

test("as long as a claim may be, and no longer", () => {
  expect(path(`/${"a".repeat(claimPathMax - 1)}`)).not.toBe("refused");
  expect(path(`/${"a".repeat(claimPathMax)}`)).toBe("refused");
});

test("a refusal does not repeat the query", () => {
  expect(JSON.stringify(normaliseHttpPath("/a\\b?secret=1"))).not.toContain("secret");
});
