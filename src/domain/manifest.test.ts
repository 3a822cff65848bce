import { describe, expect, test } from "vitest";
import { grpcRule, hashOf, manifestBody, sha } from "../../test/fixtures/authority.ts";
import { native } from "../native/crypto.ts";
import { toHex, utf8 } from "./bytes.ts";
import {
  manifestFilesMax,
  manifestPathMax,
  nameMax,
  rulesPerScopeMax,
  runtimeMax,
  scopeNameMax,
  scopesMax,
} from "./limits.ts";
import {
  checkManifest,
  identityOf,
  type Manifest,
  ManifestBody,
  manifestHash,
  type Rule,
  ruleProblem,
} from "./manifest.ts";

const file = (path: string) => ({ path, sha256: sha(path), size: 1 });
const scope = (name: string, rules = [grpcRule("/a.B/C")]) => ({ name, rules });
const scopes = (n: number) =>
  Array.from({ length: n }, (_, i) => scope(`read:s${String(i).padStart(4, "0")}`));
const files = (n: number) =>
  Array.from({ length: n }, (_, i) => file(`f${String(i).padStart(6, "0")}`));
const rules = (n: number) => Array.from({ length: n }, (_, i) => grpcRule(`/a.B/C${i}`));

describe("a manifest", () => {
  test("is its hash: SHA256 of a label and its one encoding", () => {
    const bytes = ManifestBody.encode(manifestBody());
    const expected = native.sha256(utf8("dragons/v1/manifest\n"), bytes);
    expect(toHex(manifestHash(native, bytes))).toBe(toHex(expected));
    expect(toHex(identityOf(native, manifestBody()))).toBe(toHex(expected));
  });

  test("is another identity when its code, configuration, runtime or capabilities change", () => {
    const changes: Partial<Manifest>[] = [
      { name: "other" },
      { agentVersion: "v8" },
      { code: [file("agent/main.py")] },
      { config: [file("config.yaml")] },
      { runtime: "python3.12" },
      { capabilities: manifestBody().capabilities.slice(1) },
    ];
    const hashes = [{}, ...changes].map((more) => toHex(hashOf(manifestBody(more))));
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  test("in order is accepted, up to each bound", () => {
    const whole = manifestBody({
      name: "a".repeat(nameMax),
      agentVersion: "v".repeat(nameMax),
      runtime: "r".repeat(runtimeMax),
      code: files(manifestFilesMax - 1),
      config: [file("p".repeat(manifestPathMax))],
      capabilities: [
        ...scopes(scopesMax - 1),
        scope(`w:${"x".repeat(scopeNameMax - 2)}`, rules(rulesPerScopeMax)),
      ],
    });
    expect(checkManifest(whole)).toBeNull();
    expect(checkManifest(manifestBody({ capabilities: [], code: [], runtime: "" }))).toBeNull();
  });

  const wrong: [string, Partial<Manifest>][] = [
    ["no name", { name: "" }],
    ["a name with capitals", { name: "Reconciler" }],
    ["a name that is too long", { name: "a".repeat(nameMax + 1) }],
    ["no version", { agentVersion: "" }],
    ["a version that is too long", { agentVersion: "v".repeat(nameMax + 1) }],
    ["a version with a space", { agentVersion: "v 7" }],
    ["a runtime that is too long", { runtime: "r".repeat(runtimeMax + 1) }],
    ["a runtime that writes over the terminal", { runtime: "\x1b[2J" }],
    ["too many files", { code: files(manifestFilesMax), config: [file("x")] }],
    ["files out of order", { code: [file("b"), file("a")] }],
    ["a file twice", { config: [file("a"), file("a")] }],
    ["an absolute path", { code: [file("/etc/passwd")] }],
    ["a path that climbs", { code: [file("a/../b")] }],
    ["a path with an empty name", { code: [file("a//b")] }],
    ["a path with a backslash", { code: [file("a\\b")] }],
    ["a path with a line end", { code: [file("a\nb")] }],
    ["a path that is too long", { code: [file("p".repeat(manifestPathMax + 1))] }],
    ["a file without a digest", { code: [{ ...file("a"), sha256: new Uint8Array() }] }],
    ["too many scopes", { capabilities: scopes(scopesMax + 1) }],
    ["scopes out of order", { capabilities: scopes(2).reverse() }],
    ["a scope twice", { capabilities: [scope("read:a"), scope("read:a")] }],
    ["a scope without a verb", { capabilities: [scope("payments")] }],
    [
      "a scope's name that is too long",
      { capabilities: [scope(`w:${"x".repeat(scopeNameMax - 1)}`)] },
    ],
    ["a scope that allows nothing", { capabilities: [scope("read:a", [])] }],
    ["too many rules", { capabilities: [scope("read:a", rules(rulesPerScopeMax + 1))] }],
    ["a rule twice", { capabilities: [scope("read:a", [...rules(1), ...rules(1)])] }],
    ["a rule that matches nothing", { capabilities: [scope("read:a", [grpcRule("/a.B")])] }],
  ];
  test.each(wrong)("with %s is refused", (_, more) => {
    expect(checkManifest(manifestBody(more))).toMatchObject({ code: "E_FIELD" });
  });

  test("of another format is refused", () => {
    expect(checkManifest(manifestBody({ version: 2 }))).toMatchObject({ code: "E_VERSION" });
  });

  test("sorts by bytes, as every language can", () => {
    // UTF-16 would put the second before the first.
    const code = [file("\uff5e"), file("\u{1f409}")];
    expect(checkManifest(manifestBody({ code }))).toBeNull();
    expect(checkManifest(manifestBody({ code: code.reverse() }))).toMatchObject({
      code: "E_FIELD",
    });
  });
});

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
  ])("$verb $path at $target can match something", (rule) => {
    expect(ruleProblem(rule)).toBeNull();
  });

  test.each<[string, Rule, RegExp]>([
    ["a condition", { ...grpcRule("/a.B/C"), when: "true" }, /not enforced in this version/],
    ["a verb for gRPC", { ...grpcRule("/a.B/C"), verb: "POST" }, /has a verb/],
    ["no leading slash", grpcRule("a.B/C"), /no gRPC call has/],
    ["one segment", grpcRule("/a.B"), /no gRPC call has/],
    ["three segments", grpcRule("/a/b/c"), /no gRPC call has/],
    ["a character that no name has", grpcRule("/a-b.C/D"), /no gRPC call has/],
    ["such a character in a choice", grpcRule("/a.B/{C-D,E}"), /no gRPC call has/],
    ["a slash in a choice", grpcRule("/a.B/{C/D,E}"), /no gRPC call has/],
    ["a broken pattern", grpcRule("/a.B/{C"), /without `}`/],
    ["no target", grpcRule("/a.B/C", ""), /has the target/],
    ["a target without a port", grpcRule("/a.B/C", "payments"), /port 0/],
    ["a target in capitals", grpcRule("/a.B/C", "Payments:443"), /write payments:443/],
    ["a target with a pattern", grpcRule("/a.B/C", "*.internal:443"), /inner hyphens/],
    ["a method in small letters", http("post", "/"), /not one such as GET/],
    ["an HTTP path without a slash", http("GET", "v1"), /begin with \//],
    ["no scheme for HTTP", { ...http("GET", "/"), scheme: "UNSPECIFIED" }, /neither https/],
    ["a scheme for MCP", { ...mcp("tools/call", "x"), scheme: "HTTPS" }, /has a scheme/],
    ["a query", http("GET", "/a?b=c"), /no \?/],
    ["dot segments", http("GET", "/a/../b"), /no normalised path/],
    ["double slashes", http("GET", "/a//b"), /no normalised path/],
    ["an escape in small letters", http("GET", "/a%2fb"), /such as \/a%2Fb does/],
    ["an escaped letter in a choice", http("GET", "/{b,%61}"), /such as \/a does/],
    ["an escape of an escape", http("GET", "/a%252F*"), /escape of an escape/],
    ["a backslash", http("GET", "/a\\b"), /no \?, # or/],
    ["an MCP method that is none", mcp("call tool", "x"), /not one such as tools\/call/],
    ["no MCP server", mcp("tools/call", "x", ""), /not a server's name/],
    ["no MCP name", mcp("tools/call", ""), /names nothing/],
    ["no protocol", { ...grpcRule("/a.B/C"), protocol: "UNSPECIFIED" }, /cannot speak of/],
    ["an opaque protocol", { ...grpcRule("/a.B/C"), protocol: "OPAQUE" }, /cannot speak of/],
  ])("with %s is refused", (_, rule, why) => {
    expect(ruleProblem(rule)).toMatch(why);
  });
});
