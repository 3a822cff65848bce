import { describe, expect, test } from "vitest";
import {
  claimOf,
  FREE,
  hashOf,
  INSTANCE,
  leaseBody,
  manifestBody,
  NOW,
  SECOND,
  sha,
} from "../../test/fixtures/authority.ts";
import { type Authority, authorize } from "./authorize.ts";
import type { LeaseBody } from "./lease.ts";
import { compileScopes } from "./scope.ts";

/** A grant that merely observes for its first days: what that lets pass, and what it never does. */

const UNTIL = NOW + 30 * SECOND;
const GET = claimOf("/payments.v1.Payments/Get");
const REFUND = claimOf("/payments.v1.Payments/Refund");
const ELSEWHERE = { ...claimOf("/ledger.v1.Ledger/Post"), target: "ledger.internal:443" };

const leaseOf = (more: Partial<LeaseBody> = {}): NonNullable<Authority["lease"]> => ({
  body: leaseBody(sha("grant"), sha("ledger"), {
    scopes: [{ name: "read:payments", limits: FREE }],
    observeUntilUs: UNTIL,
    ...more,
  }),
  signed: { body: new Uint8Array(), signatures: [] },
  ref: sha("lease"),
});

const authorityOf = (more: Partial<Authority> = {}): Authority => ({
  subject: {
    tenantId: "acme",
    instanceId: INSTANCE,
    ledgerId: sha("ledger"),
    manifestHash: hashOf(manifestBody()),
    scopes: compileScopes(manifestBody()),
    granted: [],
  },
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

describe("a lease that observes", () => {
  test("lets pass what no scope allows, and says what it would be refused for", () => {
    expect(authorize(authorityOf(), REFUND, NOW)).toMatchObject({
      allowed: true,
      scope: "write:payments",
      rule: { path: "/payments.v1.Payments/Refund" },
      wouldDeny: { reason: "SCOPE_NOT_GRANTED", detail: expect.stringContaining("write:payments") },
    });
  });

  test("counts what is in no scope of the manifest under no scope at all", () => {
    expect(authorize(authorityOf(), ELSEWHERE, NOW)).toMatchObject({
      allowed: true,
      scope: "",
      rule: null,
      named: false,
      wouldDeny: { reason: "SCOPE_NOT_GRANTED" },
    });
  });

  test("knows a target that the manifest names from one that it does not", () => {
    const other = claimOf("/payments.v1.Other/Do");
    expect(authorize(authorityOf(), other, NOW)).toMatchObject({ rule: null, named: true });
    expect(authorize(authorityOf(), ELSEWHERE, NOW)).toMatchObject({ rule: null, named: false });
  });

  test("says nothing of what a scope allows", () => {
    expect(authorize(authorityOf(), GET, NOW)).toMatchObject({ allowed: true, wouldDeny: null });
  });

  test("observes to the microsecond, and then refuses", () => {
    expect(authorize(authorityOf(), REFUND, UNTIL - 1)).toMatchObject({ allowed: true });
    expect(authorize(authorityOf(), REFUND, UNTIL)).toMatchObject({
      allowed: false,
      reason: "SCOPE_NOT_GRANTED",
    });
    const enforcing = authorityOf({ lease: leaseOf({ observeUntilUs: 0 }) });
    expect(authorize(enforcing, REFUND, NOW)).toMatchObject({ allowed: false });
  });

  test.each<[string, Partial<Authority>]>([
    ["MANIFEST_NOT_RECORDED", { manifestRecorded: false }],
    ["MANIFEST_RETIRED", { retired: true }],
    ["MANIFEST_DRIFT", { drifted: true }],
    ["QUARANTINED", { quarantined: true }],
    ["STOPPED", { stopped: true }],
    ["NO_LEASE", { lease: null }],
    ["LEASE_REVOKED", { revoked: true }],
    ["LEASE_MISMATCH", { lease: leaseOf({ tenantId: "globex" }) }],
    ["LEASE_NOT_YET_VALID", { lease: leaseOf({ notBeforeUs: NOW + 1 }) }],
    ["LEASE_EXPIRED", { overdue: true }],
  ])("refuses with %s as ever, in scope and out of it", (reason, more) => {
    for (const claim of [GET, REFUND, ELSEWHERE]) {
      expect(authorize(authorityOf(more), claim, NOW)).toMatchObject({ allowed: false, reason });
    }
  });

  test("keeps the limits of what is granted", () => {
    const left = {
      scope: "read:payments",
      actionsLeft: 0,
      bytesLeft: 1,
      concurrentLeft: 1,
      rateLeft: 1,
    };
    const spent = { ...GET, limitState: [left] };
    expect(authorize(authorityOf(), spent, NOW)).toMatchObject({ reason: "LIMIT_SPENT" });
  });
});
