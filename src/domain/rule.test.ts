import { describe, expect, test } from "vitest";
import { grpcRule } from "../../test/fixtures/authority.ts";
import { coversRule, type Rule, ruleProblem } from "./rule.ts";

const opaqueRule: Rule = {
  protocol: "OPAQUE",
  target: "bank.example:443",
  verb: "",
  path: "",
  when: "",
  scheme: "HTTPS",
};

describe("a rule", () => {
  const http = (verb: string, path: string, target = "ledger.internal:443"): Rule => ({
    protocol: "HTTP",
    target,
    verb,
    path,
    when: "",
    scheme: "HTTPS",
  });
  const mcp = (verb: string, path: string, target = "tracker"): Rule => ({
    protocol: "MCP",
    target,
    verb,
    path,
    when: "",
    scheme: "UNSPECIFIED",
  });

  test.each([
    grpcRule("/payments.v1.Payments/{Get,List}*"),
    grpcRule("/*/Check"),
    grpcRule("/*.v1.*/*"),
    grpcRule("/{a.A,b.B}/*", "[::1]:7000"),
    http("POST", "/v1/entries"),
    http("GET", "/v1/*/{a,b}"),
    http("GET", "/"),
    mcp("tools/call", "create_ticket"),
    mcp("tools/call", "{create,close}_*"),
    mcp("tools/list", ""),
    mcp("resources/read", "file:///reports/*"),
    http("PROPFIND", "/a%2Fb/"),
    http("GET", "/{a,b/c}*"),
    opaqueRule,
  ])("$verb $path at $target can match something", (rule) => {
    expect(ruleProblem(rule)).toBeNull();
  });

  test.each<[string, Rule, RegExp]>([
    ["a verb for gRPC", { ...grpcRule("/a.B/C"), verb: "POST" }, /has a verb/],
    ["no leading slash", grpcRule("a.B/C"), /no gRPC call has/],
    ["one segment", grpcRule("/a.B"), /no gRPC call has/],
    ["three segments", grpcRule("/a/b/c"), /no gRPC call has/],
    ["a character that no name has", grpcRule("/a-b.C/D"), /no gRPC call has/],
    ["such a character in all choices", grpcRule("/a.B/{C-D,1}*"), /no gRPC call has/],
    ["a digit where a name begins", grpcRule("/a.B/1*"), /no gRPC call has/],
    ["a broken pattern", grpcRule("/a.B/{C"), /without `}`/],
    ["no target", grpcRule("/a.B/C", ""), /has the target/],
    ["a target without a port", grpcRule("/a.B/C", "payments"), /port 0/],
    ["a target in capitals", grpcRule("/a.B/C", "Payments:443"), /write payments:443/],
    ["a target with a pattern", grpcRule("/a.B/C", "*.internal:443"), /hosts are exact/],
    ["an address of nobody", grpcRule("/a.B/C", "0.0.0.0:443"), /no connection leads/],
    ["an address of many", grpcRule("/a.B/C", "239.1.2.3:443"), /no connection leads/],
    ["an address of many, IPv6", grpcRule("/a.B/C", "[ff02::1]:443"), /no connection leads/],
    ["no address at all, IPv6", grpcRule("/a.B/C", "[::]:443"), /no connection leads/],
    ["a method that nobody registered", http("GTE", "/"), /"GTE", which is not one such as GET/],
    ["a tunnel", http("CONNECT", "/"), /not one such as GET/],
    ["a method in small letters", http("post", "/"), /not one such as GET/],
    ["an HTTP path without a slash", http("GET", "v1"), /begin with \//],
    ["no scheme for HTTP", { ...http("GET", "/"), scheme: "UNSPECIFIED" }, /neither https/],
    ["a scheme for MCP", { ...mcp("tools/call", "x"), scheme: "HTTPS" }, /has a scheme/],
    ["a query", http("GET", "/a?b=c"), /no \?/],
    ["dot segments", http("GET", "/a/../b"), /no normalised path/],
    ["double slashes", http("GET", "/a//b"), /no normalised path/],
    ["an escape that is spelled otherwise", http("GET", "/a%2fb"), /write \/a%2Fb$/],
    ["an escape of a letter", http("GET", "/%61"), /write \/a$/],
    ["a character that stands escaped", http("GET", '/"a"'), /write \/%22a%22$/],
    ["an escape that nobody reads alike", http("GET", "/%252e"), /no normalised path equals$/],
    ["half an escape", http("GET", "/%2*"), /no normalised path equals$/],
    ["an MCP method that is none", mcp("call tool", "x"), /not one such as tools\/call/],
    ["no MCP server", mcp("tools/call", "x", ""), /not a server's name/],
    ["a name for what a server asks", mcp("sampling/createMessage", "x"), /has none/],
    ["a name where MCP has none", mcp("tools/list", "x"), /tools\/list has none/],
    ["no MCP name", mcp("tools/call", ""), /names nothing/],
    ["no protocol", { ...grpcRule("/a.B/C"), protocol: "UNSPECIFIED" }, /cannot speak of/],
    ["a path behind an opaque place", { ...opaqueRule, path: "/" }, /more than a place/],
    ["a verb before an opaque place", { ...opaqueRule, verb: "GET" }, /more than a place/],
    ["an opaque place in the clear", { ...opaqueRule, scheme: "HTTP" }, /not by TLS/],
    ["an opaque place by whatever", { ...opaqueRule, scheme: "UNSPECIFIED" }, /not by TLS/],
    ["an opaque place without a port", { ...opaqueRule, target: "h" }, /port 0/],
  ])("with %s is refused", (_, rule, why) => {
    expect(ruleProblem(rule)).toMatch(why);
  });
});

describe("a condition of a rule", () => {
  const rules: Record<string, Rule> = {
    grpc: grpcRule("/a.B/*"),
    post: { ...grpcRule("/v1/*/x"), protocol: "HTTP", verb: "POST", scheme: "HTTPS" },
    get: { ...grpcRule("/{v1,v2/y}/*"), protocol: "HTTP", verb: "GET", scheme: "HTTPS" },
    tool: { ...grpcRule("x", "tracker"), protocol: "MCP", verb: "tools/call" },
    opaque: opaqueRule,
    list: { ...grpcRule("", "tracker"), protocol: "MCP", verb: "tools/list" },
  };

  test.each([
    ["grpc", 'path[1] == "C" && header["x-account"] == "7"'],
    ["post", 'path[2] == "x" && query.a == 1 && header.accept == "b" && json.a.b'],
    ["get", 'path[2] == "x" && query.limit <= 100'],
    ["tool", 'args.title.startsWith("x")'],
  ])("of a %s: %s", (rule, when) => {
    expect(ruleProblem({ ...(rules[rule] as Rule), when })).toBeNull();
  });

  test.each([
    ["grpc", "json.a == 1", /reads json\.a; of GRPC actions it can read path, header/],
    ["grpc", "query.a == 1", /reads query\.a; of GRPC/],
    ["grpc", "args.a == 1", /reads args\.a; of GRPC/],
    ["grpc", 'header["x-bin"] == "a"', /which is not text/],
    ["grpc", 'path[2] == "a"', /its paths have 2, counted from 0/],
    ["get", "json.a == 1", /a GET has no body/],
    ["post", "args.a == 1", /reads args\.a; of HTTP/],
    ["post", 'path[3] == "x"', /its paths have 3/],
    ["post", 'header.authorization == "x"', /a secret, which would stand in every receipt/],
    ["post", 'header.cookie == "x"', /a secret/],
    ["post", 'header["x-auth-token"] == "x"', /a secret/],
    ["post", 'header.host == "x"', /not forwarded as it is sent/],
    ["post", 'header["content-length"] == 3', /not forwarded as it is sent/],
    ["post", 'header.Accept == "x"', /written in small letters/],
    ["post", 'header["a b"] == "x"', /written in small letters/],
    ["tool", 'header.accept == "x"', /of MCP actions it can read args/],
    ["list", "args.a == 1", /tools\/list has no arguments/],
    ["opaque", 'path[0] == "a"', /of OPAQUE actions it can read nothing/],
    ["post", "json.a = 1", /a condition \(`when`\) that has `=`; write ==/],
  ])("of a %s, %s, is refused", (rule, when, why) => {
    expect(ruleProblem({ ...(rules[rule] as Rule), when })).toMatch(why);
  });
});

test("a rule covers what it allows alone: without a condition, or with the same", () => {
  const wide = grpcRule("/a.B/*");
  const narrow = grpcRule("/a.B/{Get,List}*");
  const when = 'path[1] == "Get"';
  expect(coversRule(wide, narrow)).toBe(true);
  expect(coversRule(narrow, wide)).toBe(false);
  expect(coversRule(wide, { ...narrow, when })).toBe(true);
  expect(coversRule({ ...wide, when }, narrow)).toBe(false);
  expect(coversRule({ ...wide, when }, { ...narrow, when })).toBe(true);
  expect(coversRule(wide, { ...narrow, scheme: "HTTPS" })).toBe(true);
  expect(coversRule({ ...wide, scheme: "HTTPS" }, narrow)).toBe(false);
  expect(coversRule(wide, { ...narrow, target: "h:1" })).toBe(false);
  expect(coversRule(opaqueRule, opaqueRule)).toBe(true);
  expect(coversRule(opaqueRule, { ...opaqueRule, protocol: "HTTP" })).toBe(false);
});
