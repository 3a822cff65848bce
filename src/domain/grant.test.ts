import { describe, expect, test } from "vitest";
import {
  FREE,
  grantBody,
  keys,
  makeKeyset,
  manifestBody,
  NOW,
  ok,
  SECOND,
} from "../../test/fixtures/authority.ts";
import { native } from "../native/crypto.ts";
import { GRANT, type GrantBody, LivenessPolicy, UNLIMITED, verifyGrant } from "./grant.ts";
import {
  clockSkewMaxUs,
  heartbeatDeclaredUsMax,
  heartbeatIntervalUsMin,
  leaseTtlMaxUs,
  leaseTtlMinUs,
  observeUsMax,
  purposeMax,
  scopesMax,
  stallUsMax,
  stallUsMin,
} from "./limits.ts";
import type { Manifest } from "./manifest.ts";
import { signBody } from "./signing.ts";

const verify = async (
  more: Partial<GrantBody>,
  { by = [keys.alice], manifest = null as Manifest | null, nowUs = NOW } = {},
) =>
  verifyGrant(
    native,
    await signBody(GRANT, grantBody(more), by),
    await makeKeyset(),
    manifest,
    nowUs,
  );

const scopes = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    name: `read:s${String(i).padStart(3, "0")}`,
    limits: FREE,
  }));

const HOUR = 3600 * SECOND;
/** A grant from now on that holds for `forUs`. */
const observing = (us: number, forUs: number): Partial<GrantBody> => ({
  notBeforeUs: NOW,
  issuedAtUs: NOW,
  notAfterUs: NOW + forUs,
  observeUntilUs: NOW + us,
});

const liveness = (more: Partial<LivenessPolicy>): Partial<GrantBody> => ({
  liveness: { ...LivenessPolicy.empty(), ...more },
});

describe("a grant", () => {
  test("is believed when an operator signed it for this manifest", async () => {
    ok(await verify({}, { manifest: manifestBody() }));
  });

  test("is not a control plane's to make", async () => {
    expect(await verify({}, { by: [keys.issuer] })).toMatchObject({ code: "E_KEY_UNKNOWN" });
    expect(await verify({}, { by: [keys.root] })).toMatchObject({ code: "E_KEY_UNKNOWN" });
    expect(await verify({}, { by: [keys.login] })).toMatchObject({ code: "E_KEY_UNKNOWN" });
  });

  test("speaks of capabilities of exactly its manifest", async () => {
    const other = manifestBody({ agentVersion: "v8" });
    expect(await verify({}, { manifest: other })).toMatchObject({ code: "E_MANIFEST" });
    const foreign = { scopes: [{ name: "read:secrets", limits: FREE }] };
    expect(await verify(foreign, { manifest: manifestBody() })).toMatchObject({
      code: "E_MANIFEST",
      detail: expect.stringContaining("read:secrets"),
    });
  });

  test("may allow nothing of a scope, or anything: both are said", async () => {
    const none = { maxActions: 0, maxBytes: 0, ratePerMinute: 0, maxConcurrent: 0 };
    ok(await verify({ scopes: [{ name: "read:payments", limits: none }] }));
    expect(FREE.maxActions).toBe(UNLIMITED);
    ok(await verify({ scopes: [{ name: "read:payments", limits: FREE }] }));
  });

  const wrong: [string, Partial<GrantBody>, string][] = [
    ["another format", { version: 0 }, "E_VERSION"],
    ["another tenant", { tenantId: "globex" }, "E_TENANT"],
    ["no id", { grantId: "grt_1" }, "E_FIELD"],
    ["no manifest", { manifestHash: new Uint8Array() }, "E_FIELD"],
    ["scopes out of order", { scopes: grantBody().scopes.reverse() }, "E_FIELD"],
    ["a scope twice", { scopes: [...scopes(1), ...scopes(1)] }, "E_FIELD"],
    ["a scope that is no name", { scopes: [{ name: "*", limits: FREE }] }, "E_FIELD"],
    ["more scopes than may be", { scopes: scopes(scopesMax + 1) }, "E_FIELD"],
    ["an empty interval", { notAfterUs: NOW - 5, notBeforeUs: NOW - 5 }, "E_FIELD"],
    ["no time of issue", { issuedAtUs: 0 }, "E_FIELD"],
    ["a time of issue to come", { issuedAtUs: NOW + clockSkewMaxUs + 1 }, "E_NOT_YET_VALID"],
    ["leases too short to renew", { leaseTtlMaxUs: leaseTtlMinUs - 1 }, "E_FIELD"],
    ["leases too long to take back", { leaseTtlMaxUs: leaseTtlMaxUs + 1 }, "E_FIELD"],
    ["no purpose", { purpose: "" }, "E_FIELD"],
    ["a purpose that is too long", { purpose: "x".repeat(purposeMax + 1) }, "E_FIELD"],
    ["a purpose that turns the text around", { purpose: "a\u202eb" }, "E_FIELD"],
    ["nobody to use it", { instancesMax: 0 }, "E_FIELD"],
    ["no level of measurement", { measureMin: "UNSPECIFIED" }, "E_FIELD"],
    ["a heartbeat a millisecond", liveness({ heartbeatIntervalUs: 1000 }), "E_FIELD"],
    ["a heartbeat a day", liveness({ heartbeatIntervalUs: heartbeatDeclaredUsMax + 1 }), "E_FIELD"],
    ["a standstill of no time", liveness({ stallDegradedUs: stallUsMin - 1 }), "E_FIELD"],
    [
      "a standstill that nobody lives to see",
      liveness({ stallDegradedUs: stallUsMax + 1 }),
      "E_FIELD",
    ],
    ["a remedy after no time", liveness({ stallAutohealUs: 1 }), "E_FIELD"],
    ["a remedy after for ever", liveness({ stallAutohealUs: stallUsMax + 1 }), "E_FIELD"],
    [
      "a remedy before what it cures",
      liveness({ stallDegradedUs: 2 * SECOND, stallAutohealUs: SECOND }),
      "E_FIELD",
    ],
    ["observing that is over before it begins", observing(0, HOUR), "E_FIELD"],
    ["observing longer than it holds", observing(2 * HOUR, HOUR), "E_FIELD"],
    ["observing longer than may be", observing(observeUsMax + 1, 2 * observeUsMax), "E_FIELD"],
  ];
  test.each(wrong)("is refused with %s", async (_, more, code) => {
    expect(await verify(more)).toMatchObject({ invalid: true, code });
  });

  test("reaches up to each bound", async () => {
    ok(await verify({ scopes: scopes(scopesMax), purpose: "x".repeat(purposeMax) }));
    ok(await verify({ leaseTtlMaxUs: leaseTtlMinUs }));
    ok(await verify({ leaseTtlMaxUs }));
    ok(await verify(observing(observeUsMax, observeUsMax)));
    ok(await verify(observing(1, HOUR)));
    ok(await verify(liveness({ heartbeatIntervalUs: heartbeatIntervalUsMin })));
    ok(await verify(liveness({ heartbeatIntervalUs: heartbeatDeclaredUsMax })));
    ok(await verify(liveness({ stallDegradedUs: stallUsMin, stallAutohealUs: stallUsMin })));
    ok(await verify(liveness({ stallDegradedUs: stallUsMax, stallAutohealUs: stallUsMax })));
    ok(await verify({ issuedAtUs: NOW + clockSkewMaxUs }));
  });

  test("outlives the key that signed it, if the key was good then", async () => {
    ok(await verify({ issuedAtUs: NOW - SECOND }, { nowUs: NOW + 40 * 86_400 * SECOND }));
  });
});
