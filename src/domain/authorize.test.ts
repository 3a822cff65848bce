import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  claimOf,
  FREE,
  grantBody,
  grpcRule,
  hashOf,
  INSTANCE,
  leaseBody,
  manifestBody,
  NOW,
  SECOND,
  sha,
} from "../../test/fixtures/authority.ts";
import { type Allowed, type Authority, authorize, type Refused } from "./authorize.ts";
import { type Claim, SCHEMES } from "./claim.ts";
import type { LeaseBody } from "./lease.ts";
import type { Manifest } from "./manifest.ts";
import { mcpCode, REASONS, RENDERINGS, type Reason } from "./reason.ts";
import { ruleProblem } from "./rule.ts";
import { compileScopes } from "./scope.ts";

const LEDGER = sha("ledger");
const GET = claimOf("/payments.v1.Payments/Get");

const leaseOf = (more: Partial<LeaseBody> = {}): NonNullable<Authority["lease"]> => ({
  body: leaseBody(sha("grant"), LEDGER, more),
  signed: { body: new Uint8Array(), signatures: [] },
  ref: sha("lease"),
});

const subjectOf = (manifest: Manifest): Authority["subject"] => ({
  tenantId: "acme",
  instanceId: INSTANCE,
  ledgerId: LEDGER,
  manifestHash: hashOf(manifestBody()),
  scopes: compileScopes(manifest),
  granted: grantBody().scopes.filter((s) => s.name === "read:payments"),
});
const SUBJECT = subjectOf(manifestBody());

const LEASE = leaseOf();

const authorityOf = (more: Partial<Authority> = {}, subject = SUBJECT): Authority => ({
  subject,
  manifestRecorded: true,
  retired: false,
  drifted: false,
  quarantined: false,
  stopped: false,
  lease: leaseOf(),
  revoked: false,
  overdue: false,
  ...more,
});

const decide = (more: Partial<Authority>, claim: Claim = GET, nowUs = NOW): Allowed | Refused =>
  authorize(authorityOf(more), claim, nowUs);
const reason = (more: Partial<Authority>, claim?: Claim, nowUs?: number): Reason | "ALLOWED" => {
  const decision = decide(more, claim, nowUs);
  return decision.allowed ? "ALLOWED" : decision.reason;
};

describe("authorize", () => {
  test("allows what a granted scope's rule speaks of, and says which", () => {
    expect(decide({})).toEqual({
      allowed: true,
      scope: "read:payments",
      rule: manifestBody().capabilities[0]?.rules[0],
      named: true,
      wouldDeny: null,
    });
  });

  /** What each fault does to an authority in order, in the order in which faults are looked for. */
  const FAULTS: [Reason, Partial<Authority>, number?, Claim?][] = [
    ["MANIFEST_NOT_RECORDED", { manifestRecorded: false }],
    ["MANIFEST_RETIRED", { retired: true }],
    ["MANIFEST_DRIFT", { drifted: true }],
    ["QUARANTINED", { quarantined: true }],
    ["STOPPED", { stopped: true }],
    ["NO_LEASE", { lease: null }],
    ["LEASE_REVOKED", { revoked: true }],
    ["LEASE_MISMATCH", { lease: leaseOf({ tenantId: "globex" }) }],
    ["LEASE_NOT_YET_VALID", {}, NOW - 1],
    ["LEASE_EXPIRED", { overdue: true }],
    ["SCOPE_NOT_GRANTED", {}, NOW, claimOf("/payments.v1.Payments/Delete")],
  ];

  test.each(FAULTS)("refuses with %s", (expected, more, nowUs = NOW, claim = GET) => {
    expect(reason(more, claim, nowUs)).toBe(expected);
  });

  test("of two faults names the one that comes first in the order", () => {
    for (const [i, [first, a, nowA = NOW, claimA = GET]] of FAULTS.entries()) {
      for (const [, b, nowB = NOW, claimB = GET] of FAULTS.slice(i + 1)) {
        const both = { ...b, ...a };
        const claim = claimA === GET ? claimB : claimA;
        expect(reason(both, claim, Math.min(nowA, nowB)), `${first} first`).toBe(first);
      }
    }
  });

  test.each([
    ["tenant", { tenantId: "globex" }],
    ["instance", { instanceId: "0189dcd553117d408db09496a2eef37c" }],
    ["ledger", { ledgerId: sha("other") }],
    ["manifest", { manifestHash: sha("other") }],
  ])("does not act on the lease of another %s", (_, more) => {
    expect(reason({ lease: leaseOf(more) })).toBe("LEASE_MISMATCH");
  });

  test("a lease holds in [notBefore, notAfter), to the microsecond", () => {
    const end = NOW + 60 * SECOND;
    expect(reason({}, GET, NOW - 1)).toBe("LEASE_NOT_YET_VALID");
    expect(reason({}, GET, NOW)).toBe("ALLOWED");
    expect(reason({}, GET, end - 1)).toBe("ALLOWED");
    expect(reason({}, GET, end)).toBe("LEASE_EXPIRED");
  });

  test("the earlier of the wall and the monotonic deadline ends it", () => {
    expect(reason({ overdue: true }, GET, NOW)).toBe("LEASE_EXPIRED");
    expect(reason({ overdue: false }, GET, NOW + 60 * SECOND)).toBe("LEASE_EXPIRED");
  });

  test("a time that is none is outside every lease", () => {
    expect(reason({}, GET, Number.NaN)).toBe("LEASE_NOT_YET_VALID");
    expect(reason({}, GET, Number.POSITIVE_INFINITY)).toBe("LEASE_EXPIRED");
  });

  test.each<[string, Partial<Claim>, Reason | "ALLOWED"]>([
    ["what it says", {}, "ALLOWED"],
    ["another method", { path: "/payments.v1.Payments/Pay" }, "SCOPE_NOT_GRANTED"],
    ["another service", { path: "/payments.v2.Payments/Get" }, "SCOPE_NOT_GRANTED"],
    ["another host", { target: "payments.evil:443" }, "SCOPE_NOT_GRANTED"],
    ["another port", { target: "payments.internal:444" }, "SCOPE_NOT_GRANTED"],
    ["another protocol", { protocol: "HTTP" }, "SCOPE_NOT_GRANTED"],
    ["no protocol", { protocol: "UNSPECIFIED" }, "SCOPE_NOT_GRANTED"],
    ["a verb", { verb: "POST" }, "SCOPE_NOT_GRANTED"],
    ["no path", { path: "" }, "SCOPE_NOT_GRANTED"],
    [
      "a scope of the manifest not in the lease",
      { path: "/payments.v1.Payments/Refund" },
      "SCOPE_NOT_GRANTED",
    ],
  ])("a rule allows %s: %s", (_, more, expected) => {
    expect(reason({}, { ...GET, ...more })).toBe(expected);
  });

  test.each([
    ["HTTPS", "HTTPS", "ALLOWED"],
    ["HTTPS", "HTTP", "SCOPE_NOT_GRANTED"],
    ["HTTP", "HTTPS", "SCOPE_NOT_GRANTED"],
    ["UNSPECIFIED", "HTTP", "ALLOWED"],
    ["UNSPECIFIED", "HTTPS", "ALLOWED"],
    ["HTTPS", "UNSPECIFIED", "SCOPE_NOT_GRANTED"],
  ] as const)("a rule for %s and a request by %s: %s", (written, scheme, expected) => {
    const rule = { ...grpcRule("/a.B/C"), scheme: written };
    const manifest = manifestBody({ capabilities: [{ name: "read:payments", rules: [rule] }] });
    const claim = { ...claimOf("/a.B/C"), scheme };
    const decision = authorize(authorityOf({}, subjectOf(manifest)), claim, NOW);
    expect(decision.allowed ? "ALLOWED" : decision.reason).toBe(expected);
  });

  test("a scope in the lease that the manifest lacks allows nothing", () => {
    const lease = leaseOf({ scopes: [{ name: "admin:all", limits: FREE }] });
    expect(reason({ lease })).toBe("SCOPE_NOT_GRANTED");
  });

  test.each([
    [{}, "ALLOWED"],
    [{ actionsLeft: 0 }, "LIMIT_SPENT"],
    [{ bytesLeft: 0 }, "LIMIT_SPENT"],
    [{ concurrentLeft: 0 }, "LIMIT_SPENT"],
    [{ rateLeft: 0 }, "LIMIT_SPENT"],
  ])("with one of each left, but %o: %s", (but, expected) => {
    const left = { actionsLeft: 1, bytesLeft: 1, concurrentLeft: 1, rateLeft: 1, ...but };
    const own = { ...GET, limitState: [{ scope: "read:payments", ...left }] };
    expect(reason({}, own)).toBe(expected);
    const others = { ...GET, limitState: [{ scope: "write:payments", ...left }] };
    expect(reason({}, others)).toBe("ALLOWED");
  });

  test("is total: any claim, any authority, any time gets an answer, and an answer allows only under a lease in force", () => {
    const claim: fc.Arbitrary<Claim> = fc.record({
      version: fc.nat(),
      protocol: fc.constantFrom("GRPC", "GRPC", "GRPC", "UNSPECIFIED", "HTTP", "MCP", "OPAQUE"),
      target: fc.oneof({ weight: 4, arbitrary: fc.constant(GET.target) }, fc.string()),
      verb: fc.oneof({ weight: 4, arbitrary: fc.constant("") }, fc.string()),
      path: fc.oneof(
        fc.constantFrom(GET.path, "/payments.v1.Payments/Refund"),
        fc.string(),
        fc.string({ unit: "binary" }),
      ),
      inputs: fc.constant([]),
      scheme: fc.constantFrom(...SCHEMES),
      limitState: fc.array(
        fc.record({
          scope: fc.constantFrom("read:payments", "x"),
          actionsLeft: fc.nat(3),
          bytesLeft: fc.nat(3),
          concurrentLeft: fc.nat(3),
          rateLeft: fc.nat(3),
        }),
        { maxLength: 2 },
      ),
    });
    const rarely = fc.integer({ min: 0, max: 7 }).map((n) => n === 0);
    const flags = fc.record({
      unrecorded: rarely,
      drifted: rarely,
      quarantined: rarely,
      stopped: rarely,
      revoked: rarely,
      overdue: rarely,
      none: rarely,
      nowUs: fc.oneof(
        {
          weight: 9,
          arbitrary: fc.integer({
            min: NOW - 5 * SECOND,
            max: NOW + 65 * SECOND,
          }),
        },
        fc.double(),
      ),
    });
    let allowed = 0;
    fc.assert(
      fc.property(claim, flags, (c, { unrecorded, none, nowUs, ...rest }) => {
        const lease = none ? null : LEASE;
        const authority = authorityOf({ ...rest, manifestRecorded: !unrecorded, lease });
        const decision = authorize(authority, c, nowUs);
        if (!decision.allowed) {
          expect(REASONS).toContain(decision.reason);
          expect(decision.reason).not.toBe("UNSPECIFIED");
          expect(decision.detail).not.toBe("");
          return;
        }
        allowed++;
        expect(Object.values(rest)).not.toContain(true);
        expect(unrecorded || none).toBe(false);
        expect(nowUs >= NOW && nowUs < NOW + 60 * SECOND).toBe(true);
        expect([c.protocol, c.target, c.verb]).toEqual(["GRPC", GET.target, ""]);
        expect(decision.scope).toBe("read:payments");
      }),
      { numRuns: 5000 },
    );
    // Some thirty are. None would mean that the above looked at refusals alone.
    expect(allowed).toBeGreaterThan(0);
  });
});

describe("a refusal", () => {
  const refusal = (claim: Claim): Refused => decide({}, claim) as Refused;

  test("of what the manifest has and the lease has not: the grant's command, with what is granted, whatever the lease holds of it", () => {
    expect(refusal(claimOf("/payments.v1.Payments/Refund"))).toEqual({
      allowed: false,
      reason: "SCOPE_NOT_GRANTED",
      scope: "write:payments",
      rule: null,
      needs: null,
      detail:
        "payments.v1.Payments/Refund at payments.internal:443 needs write:payments, which is not granted",
      remedy:
        "dragons grant create --manifest reconciler@v7 " +
        "--scope read:payments:max_actions=1000,max_concurrent=8 --scope write:payments " +
        '--unlimited --purpose "allow payments.v1.Payments/Refund"',
    });
  });

  test("of what no scope has: the nearest scope, the lines to write, and the command", () => {
    const { scope, detail, remedy } = refusal(
      claimOf("/payments.v1.Payments/GetSecrets", "payments.internal:7443"),
    );
    expect(scope).toBe("read:payments");
    expect(detail).toMatch(/in no scope of the manifest; read:payments comes nearest$/);
    expect(remedy.split("\n")).toEqual([
      "# in dragon.yaml, with a new version:",
      "capabilities:",
      "  read:payments:",
      "    - grpc: payments.v1.Payments/GetSecrets",
      "      at: payments.internal:7443",
      "# then:",
      "dragons manifest record dragon.yaml",
      "dragons grant create --manifest dragon.yaml " +
        "--scope read:payments:max_actions=1000,max_concurrent=8 " +
        '--unlimited --purpose "allow payments.v1.Payments/GetSecrets"',
    ]);
  });

  test("of what is far from everything names no scope, and still says what would allow it", () => {
    const { scope, detail, remedy } = refusal(claimOf("/mail.v1.Mail/Send", "mail.internal:443"));
    expect(scope).toBe("");
    expect(detail).toBe("mail.v1.Mail/Send at mail.internal:443 is in no scope of the manifest");
    expect(remedy).toContain("  write:mail:\n    - grpc: mail.v1.Mail/Send\n");
  });

  test("offers no line that would be refused itself", () => {
    expect(refusal({ ...GET, path: "/a/b/c" }).remedy).toBe("");
    expect(refusal({ ...GET, protocol: "OPAQUE" }).remedy).toBe("");
    expect(refusal({ ...GET, protocol: "OPAQUE", path: "", scheme: "HTTP" }).remedy).toBe("");
    for (const path of ["/*", "/a{b,c}"]) {
      expect(refusal({ ...GET, protocol: "HTTP", verb: "GET", path }).remedy).toBe("");
    }
  });

  test("of standing, time and lease has no remedy in the manifest", () => {
    for (const more of [{ quarantined: true }, { lease: null }, { overdue: true }]) {
      expect(decide(more)).toMatchObject({ allowed: false, remedy: "" });
    }
  });

  test("holds nothing that a shell would run", () => {
    const evil = { ...GET, target: "h:1", path: "/a.B/$(reboot)`x`\";'\\\n!" };
    const open = { ...evil, protocol: "HTTP" as const, verb: "GET", path: "/$(reboot);'&!" };
    expect(refusal(evil).remedy).toBe("");
    const command = refusal(open).remedy.split("\n").at(-1) as string;
    expect(command).toMatch(
      /^dragons grant create [A-Za-z0-9 .:_=,-]+ --purpose "[A-Za-z0-9 ._/:-]*"$/,
    );
  });

  test("the line it prints would have allowed it", () => {
    const words = fc.constantFrom("Get", "List", "Pay", "a", "_b");
    fc.assert(
      fc.property(words, words, fc.integer({ min: 1, max: 65535 }), (service, method, port) => {
        const claim = claimOf(`/x.${service}/${method}`, `h:${port}`);
        const { remedy } = refusal(claim);
        const [, action] = /- grpc: "?([^"\n]+)/.exec(remedy) as unknown as [string, string];
        const [, at] = /at: "?([^"\n]+)/.exec(remedy) as unknown as [string, string];
        const [, scope] = /--scope (w[^ ]*|read:(?!payments)[^ ]*)/.exec(remedy) as unknown as [
          string,
          string,
        ];
        const rule = grpcRule(`/${action}`, at);
        expect(ruleProblem(rule)).toBeNull();
        const manifest = manifestBody({ capabilities: [{ name: scope, rules: [rule] }] });
        const lease = leaseOf({ scopes: [{ name: scope, limits: FREE }] });
        expect(authorize(authorityOf({ lease }, subjectOf(manifest)), claim, NOW).allowed).toBe(
          true,
        );
      }),
    );
  });
});

describe("the algebra of rules and scopes", () => {
  const MATCHES = [true, false];
  const WHENS = ["NONE", "TRUE", "FALSE", "MISSING"] as const;
  type When = (typeof WHENS)[number];
  const SPELLED: Record<When, string> = {
    NONE: "",
    TRUE: "header.a == 1",
    FALSE: "header.a == 2",
    MISSING: "header.b == 1",
  };
  interface Cell {
    readonly matches: boolean;
    readonly when: When;
  }
  const cells: Cell[] = MATCHES.flatMap((matches) => WHENS.map((when) => ({ matches, when })));

  /** The claim of every row: it shows a, which is 1, and no b. */
  const claim: Claim = {
    ...claimOf("/a.B/C"),
    inputs: [{ name: "header.a", type: "STRING", value: "1" }],
  };
  const ruleOf = ({ matches, when }: Cell) => ({
    ...grpcRule(matches ? "/a.B/*" : "/a.X/*"),
    when: SPELLED[when],
  });
  const left = (scope: string, n: number) => ({
    scope,
    actionsLeft: n,
    bytesLeft: n,
    concurrentLeft: n,
    rateLeft: n,
  });

  /** What docs/formats.md says of it, in its own words and order. */
  function expected(
    rules: readonly (Cell & { scope: string })[],
    held: string[],
    spent: string[],
  ): string {
    const speak = rules.filter((r) => r.matches && held.includes(r.scope));
    const [first] = [
      ...speak.filter((r) => r.when === "NONE"),
      ...speak.filter((r) => r.when !== "NONE"),
    ];
    const permits = speak.find((r) => r.when === "NONE") ?? speak.find((r) => r.when === "TRUE");
    if (permits !== undefined) return spent.includes(permits.scope) ? "LIMIT_SPENT" : permits.scope;
    if (first === undefined) return "SCOPE_NOT_GRANTED";
    return first.when === "FALSE" ? "CONDITION_FALSE" : "CONDITION_UNEVALUABLE";
  }

  test("match × held × condition × limits, of three rules in two scopes, each way there is", () => {
    const seen = new Map<string, number>();
    const subsets = [[], ["a:x"], ["b:x"], ["a:x", "b:x"]];
    for (const one of cells) {
      for (const two of cells) {
        for (const three of cells) {
          const manifest = manifestBody({
            capabilities: [
              { name: "a:x", rules: [ruleOf(one), ruleOf(two)] },
              { name: "b:x", rules: [ruleOf(three)] },
            ],
          });
          const subject = subjectOf(manifest);
          const rules = [
            { ...one, scope: "a:x" },
            { ...two, scope: "a:x" },
            { ...three, scope: "b:x" },
          ];
          for (const held of subsets) {
            const lease = leaseOf({ scopes: held.map((name) => ({ name, limits: FREE })) });
            for (const spent of subsets) {
              const limitState = spent.map((scope) => left(scope, 0));
              const decision = authorize(
                authorityOf({ lease }, subject),
                { ...claim, limitState },
                NOW,
              );
              const got = decision.allowed ? decision.scope : decision.reason;
              const want = expected(rules, held, spent);
              if (got !== want)
                expect({ rules, held, spent, got }).toEqual({ rules, held, spent, got: want });
              seen.set(got, (seen.get(got) ?? 0) + 1);
            }
          }
        }
      }
    }
    expect([...seen.values()].reduce((a, b) => a + b)).toBe(8 ** 3 * 16);
    expect([...seen.keys()].sort()).toEqual([
      "CONDITION_FALSE",
      "CONDITION_UNEVALUABLE",
      "LIMIT_SPENT",
      "SCOPE_NOT_GRANTED",
      "a:x",
      "b:x",
    ]);
  });

  test("what a condition would have to see is told, of all rules that were asked, and of no other", () => {
    const rules = [
      { ...grpcRule("/a.B/*"), when: "header.b == 1 && header.c == 1" },
      { ...grpcRule("/a.B/C"), when: 'header.d == 1 && path[1] == "C"' },
      { ...grpcRule("/a.X/C"), when: "header.e == 1" },
    ];
    const capabilities = [
      { name: "a:x", rules },
      { name: "b:x", rules: [{ ...grpcRule("/a.B/*"), when: "header.f == 1" }] },
    ];
    const lease = leaseOf({ scopes: [{ name: "a:x", limits: FREE }] });
    const subject = subjectOf(manifestBody({ capabilities }));
    const decision = authorize(authorityOf({ lease }, subject), claim, NOW) as Refused;
    expect(decision.needs?.inputs.map((i) => i.name)).toEqual(["header.b", "header.c", "header.d"]);
    expect(decision.needs?.body).toBe(false);
    expect(decision.rule).toEqual(rules[0]);
  });
});

test("no refusal is told as something that was not found, in any protocol", () => {
  for (const reason of REASONS) {
    const { grpc, http } = RENDERINGS[reason];
    expect([5, 404, 410]).not.toContain(grpc);
    expect([404, 410]).not.toContain(http);
    // JSON-RPC's "method not found" and MCP's "resource not found".
    expect([-32601, -32602, -32002]).not.toContain(mcpCode(reason));
  }
});
