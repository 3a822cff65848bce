import { describe, expect, test } from "vitest";
import { grpcRule, hashOf, manifestBody, sha } from "../../test/fixtures/authority.ts";
import { native } from "../native/crypto.ts";
import { toHex, utf8 } from "./bytes.ts";
import {
  manifestFilesMax,
  manifestInputsMax,
  manifestPathMax,
  nameMax,
  rulesPerScopeMax,
  runtimeMax,
  scopeNameMax,
  scopesMax,
} from "./limits.ts";
import {
  checkManifest,
  checkRecording,
  identityOf,
  type Manifest,
  ManifestBody,
  manifestHash,
} from "./manifest.ts";
import type { Rule } from "./rule.ts";

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

const http = (path: string): Rule => ({
  ...grpcRule(path),
  protocol: "HTTP",
  verb: "GET",
  scheme: "HTTPS",
});

test.each<[string, Rule[], RegExp]>([
  [
    "stands twice",
    [grpcRule("/a.B/C"), grpcRule("/a.B/C")],
    /rules\[1\] allows nothing that rule 1/,
  ],
  [
    "a wider one covers",
    [grpcRule("/a.B/Get*"), grpcRule("/a.B/*")],
    /rules\[0\] .* rule 2 does not/,
  ],
  [
    "another allows without its condition",
    [{ ...grpcRule("/a.B/C"), when: 'header.a == "x"' }, grpcRule("/a.B/C")],
    /rules\[0\] .* rule 2 does not allow, without its condition/,
  ],
  [
    "has a condition that never holds",
    [{ ...grpcRule("/a.B/C"), when: "header.a > 1 && header.a < 2" }],
    /can never hold/,
  ],
  [
    "asks of its path what it never is",
    [{ ...grpcRule("/a.B/{C,D}"), when: 'path[1] == "E"' }],
    /can never hold/,
  ],
  [
    "compares a segment with what none is",
    [{ ...grpcRule("/a.B/*"), when: 'path[1] == "Get All"' }],
    /compares path\[1\] with "Get All", which it never is/,
  ],
  [
    "compares a segment with another spelling of it",
    [{ ...http("/v1/*"), when: 'path[1] in ["a%2fb", "c"]' }],
    /compares path\[1\] with "a%2fb"/,
  ],
  [
    "compares a header field with what none holds",
    [{ ...http("/v1/*"), when: 'header.a == " x"' }],
    /compares header\.a with " x"/,
  ],
  ["has an alternative that nothing has", [grpcRule("/a.B/{C-D,E}")], /the alternative C-D/],
])("a rule that %s is not recorded", (_, rules, why) => {
  const manifest = manifestBody({ capabilities: [{ name: "read:a", rules }] });
  expect(checkManifest(manifest)).toBeNull();
  expect(checkRecording(manifest)).toMatchObject({ detail: expect.stringMatching(why) });
});

test("conditions of one manifest read so many inputs, and not one more", () => {
  const reading = (n: number) =>
    manifestBody({
      capabilities: [
        {
          name: "read:a",
          rules: Array.from({ length: n }, (_, i) => ({
            ...grpcRule("/a.B/C"),
            when: `header.a${i} == 1`,
          })),
        },
      ],
    });
  expect(checkManifest(reading(manifestInputsMax))).toBeNull();
  expect(checkManifest(reading(manifestInputsMax + 1))).toMatchObject({
    detail: expect.stringMatching(/read more than 64 inputs/),
  });
});

test.each([
  'path[1] == "a%2Fb"',
  'path[1].startsWith("a%2")',
  'path[1] < "b"',
  'path[1] == ""',
  'path[1] in ["a", "b-c_d~e"]',
  'header.a == "x y"',
  'header.a == ""',
  'header.a.startsWith("Bearer ")',
])("a condition such as %s is recorded", (when) => {
  const capabilities = [{ name: "read:a", rules: [{ ...http("/v1/*"), when }] }];
  expect(checkRecording(manifestBody({ capabilities }))).toBeNull();
});

test("rules that overlap, and the same in two scopes, are recorded", () => {
  const rules = [grpcRule("/a.B/Get*"), grpcRule("/a.B/*All"), grpcRule("/a.B/Get*", "h:1")];
  const capabilities = [
    { name: "read:a", rules },
    { name: "read:b", rules },
  ];
  expect(checkRecording(manifestBody({ capabilities }))).toBeNull();
});
