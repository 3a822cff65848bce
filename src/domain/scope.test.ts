import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  claimOf,
  FREE,
  grpcRule,
  leaseBody,
  manifestBody,
  sha,
} from "../../test/fixtures/authority.ts";
import type { LeaseBody } from "./lease.ts";
import type { Rule } from "./rule.ts";
import { compileScopes, findRule, matching, matchRule, nearest, passesUnread } from "./scope.ts";

const lease = (...names: string[]): LeaseBody =>
  leaseBody(sha("grant"), sha("ledger"), {
    scopes: names.map((name) => ({ name, limits: FREE })),
  });
const manifest = manifestBody({
  capabilities: [
    { name: "all:payments", rules: [grpcRule("/payments.v1.Payments/*")] },
    { name: "read:payments", rules: [grpcRule("/payments.v1.Payments/{Get,List}*")] },
    {
      name: "use:health",
      rules: [
        grpcRule("/grpc.health.v1.Health/Check", "a:1"),
        grpcRule("/grpc.health.v1.Health/Check", "b:1"),
      ],
    },
  ],
});
const scopes = compileScopes(manifest);
const GET = claimOf("/payments.v1.Payments/Get");
const PAY = claimOf("/payments.v1.Payments/Pay");

describe("TLS is passed on unread", () => {
  const opaqueRule = (target: string): Rule => ({
    protocol: "OPAQUE",
    target,
    verb: "",
    path: "",
    when: "",
    scheme: "HTTPS",
  });
  const read = (target: string, scheme: Rule["scheme"]): Rule => ({
    protocol: "HTTP",
    target,
    verb: "GET",
    path: "/",
    when: "",
    scheme,
  });
  const some = compileScopes(
    manifestBody({
      capabilities: [
        { name: "opaque:bank", rules: [opaqueRule("bank:443"), opaqueRule("both:443")] },
        { name: "read:both", rules: [read("both:443", "HTTPS"), read("bank:443", "HTTP")] },
      ],
    }),
  );

  test.each<[string, string[], string, boolean]>([
    ["where an opaque rule is held", ["opaque:bank"], "bank:443", true],
    ["where nothing else could be meant, so that a refusal says so", [], "bank:443", true],
    [
      "where both are held: the opaque one was asked for",
      ["opaque:bank", "read:both"],
      "both:443",
      true,
    ],
    ["not where only a rule that reads is held", ["read:both"], "both:443", false],
    ["not where nothing is held and rules could read", [], "both:443", false],
    ["not at another port", ["opaque:bank"], "bank:444", false],
    ["not where no rule says so", ["opaque:bank"], "other:443", false],
  ])("%s", (_, held, target, unread) => {
    expect(
      passesUnread(
        some,
        held.map((name) => ({ name })),
        target,
      ),
    ).toBe(unread);
  });
});

describe("findRule", () => {
  // Which scopes are held × which action: the scope that permits it, or none.
  test.each([
    [[], GET, undefined],
    [["read:payments"], GET, "read:payments"],
    [["all:payments"], GET, "all:payments"],
    [["all:payments", "read:payments"], GET, "all:payments"],
    [["read:payments"], PAY, undefined],
    [["all:payments"], PAY, "all:payments"],
    [["use:health"], GET, undefined],
    [["use:health"], claimOf("/grpc.health.v1.Health/Check", "b:1"), "use:health"],
    [["use:health"], claimOf("/grpc.health.v1.Health/Check", "c:1"), undefined],
    [["none:such"], GET, undefined],
  ])("%o, %o: %s", (held, claim, expected) => {
    expect(findRule(scopes, lease(...held).scopes, claim)?.scope).toBe(expected);
  });

  test("finds a scope exactly where some rule of a held scope matches", () => {
    const names = manifest.capabilities.map((c) => c.name);
    const claims = fc.record({
      path: fc.constantFrom(GET.path, PAY.path, "/grpc.health.v1.Health/Check", "/x.Y/Z", ""),
      target: fc.constantFrom(GET.target, "a:1", "b:1", "c:1"),
      protocol: fc.constantFrom("GRPC" as const, "HTTP" as const),
    });
    fc.assert(
      fc.property(fc.subarray(names), claims, (held, more) => {
        const claim = { ...GET, ...more };
        const expected = manifest.capabilities.find(
          (c) => held.includes(c.name) && c.rules.some((r) => matchRule(r, claim)),
        );
        expect(findRule(scopes, lease(...held).scopes, claim)?.scope).toBe(expected?.name);
      }),
      { numRuns: 2000 },
    );
  });
});

test("matching tells all scopes that speak of an action, granted or not", () => {
  expect(matching(scopes, GET).map((r) => r.scope)).toEqual(["all:payments", "read:payments"]);
  expect(matching(scopes, claimOf("/x.Y/Z"))).toEqual([]);
});

test("nearest prefers the same target, then the longest beginning, and may find none", () => {
  const near = (path: string, target?: string) => nearest(scopes, claimOf(path, target))?.scope;
  expect(near("/payments.v1.Payments/Pay/x")).toBe("all:payments");
  expect(near("/grpc.health.v1.Health/Watch", "a:1")).toBe("use:health");
  expect(near("/payments.v1.Payments/Get", "elsewhere:1")).toBe("all:payments");
  expect(near("/mail.v1.Mail/Send", "mail:443")).toBeUndefined();
});
