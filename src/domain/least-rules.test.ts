import { describe, expect, test } from "vitest";
import { type Action, leastRules, type Seen } from "./least-rules.ts";
import { starFrom, starFromAtRoot } from "./limits.ts";
import { compilePattern } from "./pattern.ts";

const http = (path: string, more: Partial<Action> = {}, count = 1): Seen => {
  const place = { protocol: "HTTP", target: "api.example:443", scheme: "HTTPS" } as const;
  return { action: { ...place, verb: "GET", path, ...more }, count };
};
const grpc = (path: string): Seen =>
  http(path, { protocol: "GRPC", verb: "", scheme: "HTTP", target: "p.internal:50051" });
const mcp = (verb: string, path: string): Seen =>
  http(path, { protocol: "MCP", verb, target: "tracker", scheme: "UNSPECIFIED" });

const paths = (...seen: Seen[]): string[] => leastRules(seen).rules.map((r) => r.rule.path);
const many = (n: number, of: (name: string) => string): Seen[] =>
  Array.from({ length: n }, (_, i) =>
    http(of(`name${"abcdefghijklmnopqrstuvwxyz"[i % 26]}${"x".repeat(i / 26)}`)),
  );

describe("a segment that is an id by its look is a star", () => {
  test.each([
    ["a number", "/orders/42/lines", "/orders/*/lines"],
    ["a UUID", "/o/01890a5d-ac96-774b-bcce-b302099a8057", "/o/*"],
    ["a digest", "/blobs/9f86d081884c7d65", "/blobs/*"],
    ["a date", "/reports/2026-11-29", "/reports/*"],
    ["a token", "/s/Zk3p9QmX71vvLw0d", "/s/*"],
    ["behind a prefix", "/v1/customers/cus_Nff8r3eu2", "/v1/customers/cus_*"],
    ["before an ending", "/files/42.json", "/files/*.json"],
  ])("%s", (_, seen, pattern) => {
    expect(paths(http(seen))).toEqual([pattern]);
  });

  test.each([
    "/v1/entries",
    "/oauth2/token",
    "/chat/completions",
    "/blobs/deadbeef-manual",
    "/models/gpt-like-model-large",
    "/@scope%2Fname",
    "/",
  ])("%s is none", (path) => {
    expect(paths(http(path))).toEqual([path]);
  });
});

describe("many names in one place are a star", () => {
  test("from so many on, and none before; the root holds more", () => {
    expect(paths(...many(starFrom - 1, (n) => `/wiki/${n}`))).toHaveLength(starFrom - 1);
    expect(paths(...many(starFrom, (n) => `/wiki/${n}`))).toEqual(["/wiki/*"]);
    expect(paths(...many(starFromAtRoot - 1, (n) => `/${n}`))).toHaveLength(starFromAtRoot - 1);
    expect(paths(...many(starFromAtRoot, (n) => `/${n}`))).toEqual(["/*"]);
  });

  test("and never for another depth, method, host or scheme", () => {
    const all = many(starFrom, (n) => `/wiki/${n}`);
    const others = [
      http("/wiki/a/b"),
      http("/wiki/"),
      http("/wiki/a", { verb: "DELETE" }),
      http("/wiki/a", { target: "other.example:443" }),
      http("/wiki/a", { scheme: "HTTP", target: "api.example:80" }),
    ];
    expect(paths(...all, ...others)).toEqual(["/wiki/*", ...others.map((o) => o.action.path)]);
  });
});

test("gRPC methods and MCP tools are told one by one, and nothing is guessed", () => {
  const methods = "abcdefghijklmnopqrstuvwxyz".split("").map((c) => grpc(`/a.v1.B/Get${c}`));
  const [one, ...more] = paths(...methods, grpc("/a.v1.C/Get"));
  expect(one).toMatch(/^\/a\.v1\.B\/\{Geta,Getb,.*,Getz\}$/);
  expect(more).toEqual(["/a.v1.C/Get"]);
  const tools = [mcp("tools/call", "search"), mcp("tools/call", "create"), mcp("tools/list", "")];
  expect(paths(...tools)).toEqual(["{create,search}", ""]);
});

test("every action is counted in the rule that allows it, and every rule allows all that it counts", () => {
  const seen = [http("/o/1", {}, 3), http("/o/2"), http("/o/x"), http("/o/1"), grpc("/a.B/C")];
  const { rules, unwritten } = leastRules(seen);
  expect(rules.map((r) => [r.rule.path, r.count, r.paths])).toEqual([
    ["/o/*", 6, ["/o/1", "/o/2", "/o/x"]],
    ["/a.B/C", 1, ["/a.B/C"]],
  ]);
  for (const { rule, paths } of rules) {
    const pattern = compilePattern(rule.path);
    if (typeof pattern === "string") throw new Error(pattern);
    expect(paths.every((path) => pattern.matches(path))).toBe(true);
  }
  expect(unwritten).toEqual([]);
});

test("where it is asked for, no star is written", () => {
  const { rules } = leastRules([http("/o/1"), http("/o/2")], ({ verb }) => verb === "GET");
  expect(rules.map((r) => r.rule.path)).toEqual(["/o/1", "/o/2"]);
});

test("what no rule can say is not said by a wider one", () => {
  const { rules, unwritten } = leastRules([http("/glob/*"), http("/a", { verb: "BREW" })]);
  expect(rules).toEqual([]);
  expect(unwritten.map((u) => u.why)).toEqual([
    expect.stringContaining("means something in a rule"),
    expect.stringContaining("BREW"),
  ]);
});
