import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  DAY,
  FREE,
  hashOf,
  idNamed,
  keys,
  leaseBody,
  makeChain,
  manifestBody,
  NOW,
  ok,
  SECOND,
  sha,
  signLease,
} from "../../test/fixtures/authority.ts";
import { native } from "../native/crypto.ts";
import { type GrantBody, type Limits, UNLIMITED } from "./grant.ts";
import { type Invalid, isInvalid } from "./invalid.ts";
import { LeaseBody, type LeaseContext, verifyLease } from "./lease.ts";
import { clockSkewMaxUs } from "./limits.ts";
import type { Verified } from "./signed.ts";

const chain = await makeChain();
const context: LeaseContext = { ...chain, measured: "FILES", nowUs: NOW };
const body = (more: Partial<LeaseBody> = {}): LeaseBody =>
  leaseBody(chain.grant.ref, chain.genesis.ref, more);

const verify = async (
  more: Partial<LeaseBody>,
  held: Partial<LeaseContext> = {},
): Promise<Verified<LeaseBody> | Invalid> =>
  verifyLease(native, await signLease(body(more)), { ...context, ...held });

describe("a lease", () => {
  test("within its grant, by the issuer, for this instance, is believed", async () => {
    ok(await verify({}));
    ok(await verify({}, { manifest: null }));
  });

  test("is the issuer's alone", async () => {
    for (const by of [keys.alice, keys.root, keys.join, keys.ledger, keys.controlLedger]) {
      expect(verifyLease(native, await signLease(body(), by), context)).toMatchObject({
        code: "E_KEY_UNKNOWN",
      });
    }
  });

  const wrong: [string, Partial<LeaseBody>, string][] = [
    ["another format", { version: 2 }, "E_VERSION"],
    ["another tenant", { tenantId: "globex" }, "E_TENANT"],
    ["no id", { leaseId: idNamed("grt") }, "E_FIELD"],
    ["another instance", { instanceId: "0189dcd553117d408db09496a2eef37c" }, "E_LEDGER"],
    ["another ledger", { ledgerId: sha("ledger") }, "E_LEDGER"],
    ["another manifest", { manifestHash: hashOf(manifestBody({ name: "x" })) }, "E_MANIFEST"],
    ["another grant", { grantRef: sha("grant") }, "E_REF"],
    ["no place in the row", { leaseSeq: 0 }, "E_FIELD"],
    ["observing that no operator signed", { observeUntilUs: NOW + SECOND }, "E_WIDENED"],
    ["a scope not granted", { scopes: [{ name: "read:secrets", limits: FREE }] }, "E_WIDENED"],
    ["an interval that is none", { notAfterUs: NOW }, "E_FIELD"],
    ["an end beyond its longest", { notAfterUs: NOW + 60 * SECOND + 1 }, "E_WIDENED"],
    ["a beginning before its issue", { notBeforeUs: NOW - clockSkewMaxUs - 1 }, "E_WIDENED"],
    ["a time of issue to come", { issuedAtUs: NOW + clockSkewMaxUs + 1 }, "E_NOT_YET_VALID"],
    ["no head", { headRoot: new Uint8Array() }, "E_FIELD"],
    ["no intents", { intentsHead: new Uint8Array() }, "E_FIELD"],
    ["a control head without its root", { controlSize: 3 }, "E_FIELD"],
    ["a control root without its size", { controlRoot: sha("c") }, "E_FIELD"],
  ];
  test.each(wrong)("is refused with %s", async (_, more, code) => {
    expect(await verify(more)).toMatchObject({ invalid: true, code });
  });

  test("stays inside the grant's interval, to the microsecond", async () => {
    const { notBeforeUs, notAfterUs } = chain.grant.body;
    const ttl = 60 * SECOND;
    const first = { issuedAtUs: notBeforeUs, notBeforeUs, notAfterUs: notBeforeUs + ttl };
    ok(await verify(first, { nowUs: notBeforeUs }));
    expect(
      await verify(
        { ...first, notBeforeUs: notBeforeUs - 1, notAfterUs: notBeforeUs + 5 },
        { nowUs: notBeforeUs },
      ),
    ).toMatchObject({ code: "E_WIDENED" });
    const last = { issuedAtUs: notAfterUs - ttl, notBeforeUs: notAfterUs - ttl, notAfterUs };
    ok(await verify(last, { nowUs: notAfterUs - ttl }));
    expect(
      await verify(
        { ...last, notBeforeUs: notAfterUs - ttl + 1, notAfterUs: notAfterUs + 1 },
        { nowUs: notAfterUs - ttl },
      ),
    ).toMatchObject({ code: "E_WIDENED" });
  });

  test("is not adopted once it has ended, and may be before it begins", async () => {
    const end = NOW + 60 * SECOND;
    ok(await verify({}, { nowUs: end - 1 }));
    expect(await verify({}, { nowUs: end })).toMatchObject({ code: "E_EXPIRED" });
    ok(await verify({ notBeforeUs: NOW + 10 * SECOND }));
  });

  test("asks for the level of measurement that its grant asks for", async () => {
    ok(await verify({}, { measured: "LAUNCHED" }));
    expect(await verify({}, { measured: "DECLARED" })).toMatchObject({ code: "E_MANIFEST" });
  });

  test("is refused for a manifest that is not the one at hand", async () => {
    expect(await verify({}, { manifest: manifestBody({ agentVersion: "v8" }) })).toMatchObject({
      code: "E_MANIFEST",
    });
  });
});

/** Numbers around what a limit may be: none, few, many, without limit. */
const limit = fc.oneof(
  fc.integer({ min: 0, max: 5 }),
  fc.integer({ min: 0, max: 1_000_000 }),
  fc.constant(UNLIMITED),
);
const limits = fc.record({
  maxActions: limit,
  maxConcurrent: limit,
  maxBytes: limit,
  ratePerMinute: limit,
});
const NAMES = ["read:a", "read:b", "use:c", "write:d"];

/** A grant and a lease that keeps within it in every field. */
const within = fc
  .record({
    granted: fc.subarray(NAMES, { minLength: 1 }),
    limits: fc.array(limits, { minLength: 4, maxLength: 4 }),
    shares: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 8, maxLength: 8 }),
    lengthUs: fc.integer({ min: 200, max: DAY }),
    ttlUs: fc.integer({ min: 1 * SECOND, max: 3600 * SECOND }),
    fromShare: fc.double({ min: 0, max: 0.5, noNaN: true }),
    ttlShare: fc.double({ min: 0, max: 1, noNaN: true }),
    keep: fc.integer({ min: 1, max: 15 }),
  })
  .map((r) => {
    const scopes = r.granted.map((name, i) => ({ name, limits: r.limits[i] as Limits }));
    const grant: Partial<GrantBody> = {
      scopes,
      observeUntilUs: r.granted.length % 2 === 0 ? 0 : NOW - DAY + r.lengthUs,
      notBeforeUs: NOW - DAY,
      notAfterUs: NOW - DAY + r.lengthUs,
      leaseTtlMaxUs: r.ttlUs,
    };
    const some = scopes.filter((_, i) => r.keep & (1 << i));
    const leased = (some.length === 0 ? scopes : some).map(({ name, limits: l }, i) => ({
      name,
      limits: {
        ...l,
        maxActions: Math.floor(l.maxActions * (r.shares[i * 2] as number)),
        maxConcurrent: Math.floor(l.maxConcurrent * (r.shares[i * 2 + 1] as number)),
      },
    }));
    const notBeforeUs = NOW - DAY + Math.floor(r.lengthUs * r.fromShare);
    const room = Math.min(r.ttlUs, NOW - DAY + r.lengthUs - notBeforeUs);
    const ttl = Math.max(1, Math.floor(room * r.ttlShare));
    const lease: Partial<LeaseBody> = {
      scopes: leased,
      observeUntilUs: Math.floor((grant.observeUntilUs as number) * r.ttlShare),
      issuedAtUs: notBeforeUs,
      notBeforeUs,
      notAfterUs: notBeforeUs + ttl,
    };
    return { grant, lease };
  });

type Case = { grant: Partial<GrantBody>; lease: Partial<LeaseBody> };
const firstScope = ({ lease }: Case) =>
  (lease.scopes as LeaseBody["scopes"])[0] as LeaseBody["scopes"][0];
const grantedLimits = ({ grant }: Case, name: string) =>
  (grant.scopes as GrantBody["scopes"]).find((s) => s.name === name)?.limits as Limits;

/** Each widens one field by `by` beyond what the grant says; null: that cannot be done here. */
const WIDENINGS: Record<string, (c: Case, by: number) => Partial<LeaseBody> | null> = {
  maxActions: (c, by) => raised(c, "maxActions", by),
  maxConcurrent: (c, by) => raised(c, "maxConcurrent", by),
  notBefore: ({ grant, lease }, by) => {
    const notBeforeUs = (grant.notBeforeUs as number) - by;
    return {
      ...lease,
      issuedAtUs: grant.notBeforeUs as number,
      notBeforeUs,
      notAfterUs: notBeforeUs + 1,
    };
  },
  notAfter: ({ grant, lease }, by) => {
    const notAfterUs = (grant.notAfterUs as number) + by;
    return { ...lease, notBeforeUs: notAfterUs - 1, notAfterUs };
  },
  ttl: ({ grant, lease }, by) => ({
    ...lease,
    notAfterUs: (lease.notBeforeUs as number) + (grant.leaseTtlMaxUs as number) + by,
  }),
  scope: (c) => {
    const held = (c.grant.scopes as GrantBody["scopes"]).map((s) => s.name);
    const foreign = NAMES.find((n) => !held.includes(n));
    if (foreign === undefined) return null;
    const scopes = [...(c.lease.scopes as LeaseBody["scopes"]), { name: foreign, limits: FREE }];
    return { ...c.lease, scopes: scopes.sort((a, b) => (a.name < b.name ? -1 : 1)) };
  },
  observing: ({ grant, lease }, by) => ({
    ...lease,
    observeUntilUs: (grant.observeUntilUs as number) + by,
  }),
  tenant: ({ lease }) => ({ ...lease, tenantId: "globex" }),
  instance: ({ lease }) => ({ ...lease, instanceId: "0189dcd553117d408db09496a2eef37c" }),
  ledger: ({ lease }) => ({ ...lease, ledgerId: sha("other") }),
  manifest: ({ lease }) => ({ ...lease, manifestHash: sha("other") }),
  grant: ({ lease }) => ({ ...lease, grantRef: sha("other") }),
};

/** Not, say, because the bent lease could not be read. */
const REFUSALS = ["E_WIDENED", "E_TENANT", "E_LEDGER", "E_MANIFEST", "E_REF"];

function raised(c: Case, which: keyof Limits, by: number) {
  const scope = firstScope(c);
  const bound = grantedLimits(c, scope.name)[which];
  if (bound > UNLIMITED - by) return null;
  const scopes = (c.lease.scopes as LeaseBody["scopes"]).map((s) =>
    s === scope ? { ...s, limits: { ...s.limits, [which]: bound + by } } : s,
  );
  return { ...c.lease, scopes };
}

describe("lease ⊆ grant", () => {
  // Signatures are not the question here, and would be most of the time.
  const unsigned = { ...native, verify: () => true };
  const judge = (grant: Partial<GrantBody>, lease: Partial<LeaseBody>) => {
    const signed = {
      body: LeaseBody.encode(body(lease)),
      signatures: [{ key: keys.issuer.publicKey, value: new Uint8Array(64) }],
    };
    const bent = { ...chain.grant, body: { ...chain.grant.body, ...grant } };
    const nowUs = (lease.issuedAtUs ?? NOW) as number;
    return verifyLease(unsigned, signed, { ...context, grant: bent, manifest: null, nowUs });
  };

  test("whatever keeps within the grant is believed", () => {
    fc.assert(
      fc.property(within, ({ grant, lease }) => {
        const result = judge(grant, lease);
        if (isInvalid(result)) throw new Error(result.detail);
      }),
      { numRuns: 2000 },
    );
  });

  test.each(Object.keys(WIDENINGS))("any widening of %s alone is refused", (field) => {
    const widen = WIDENINGS[field] as (c: Case, by: number) => Partial<LeaseBody> | null;
    let widened = 0;
    fc.assert(
      fc.property(within, fc.integer({ min: 1, max: 1_000_000 }), (c, by) => {
        const lease = widen(c, by);
        if (lease === null) return;
        widened++;
        expect(REFUSALS).toContain((judge(c.grant, lease) as Invalid).code);
      }),
      { numRuns: 1000 },
    );
    expect(widened).toBeGreaterThan(200);
  });
});
