import { describe, expect, test } from "vitest";
import {
  entry,
  keys,
  makeChain,
  makeKeyset,
  NOW,
  ok,
  sha,
  sortedKeys,
} from "../../test/fixtures/authority.ts";
import { native } from "../native/crypto.ts";
import type { Signer } from "./crypto.ts";
import { clockSkewMaxUs, purposeMax } from "./limits.ts";
import {
  checkEpoch,
  REVOCATION,
  REVOCATION_KINDS,
  type RevocationBody,
  verifyRevocation,
} from "./revocation.ts";
import { signBody } from "./signing.ts";

const { keyset } = await makeChain();
const NONE = new Uint8Array();

const bodyOf = (more: Partial<RevocationBody> = {}): RevocationBody => ({
  version: 1,
  tenantId: "acme",
  epoch: 1,
  previous: NONE,
  kind: "LEASE",
  target: sha("lease"),
  effectiveUs: NOW,
  reason: "laptop lost",
  ...more,
});
const verify = async (more: Partial<RevocationBody>, by: Signer[] = [keys.issuer], held = keyset) =>
  verifyRevocation(native, await signBody(REVOCATION, bodyOf(more), by), held, NOW);

describe("a revocation", () => {
  const byIssuer = ["LEASE"];
  test.each(REVOCATION_KINDS.slice(1))("of a %s is its role's alone", async (kind) => {
    const more = { kind, target: kind === "TENANT" || kind === "RESUME" ? NONE : sha("x") };
    const [may, mayNot] = byIssuer.includes(kind)
      ? [keys.issuer, keys.alice]
      : [keys.alice, keys.issuer];
    ok(await verify(more, [may]));
    expect(await verify(more, [mayNot])).toMatchObject({ code: "E_KEY_UNKNOWN" });
  });

  test("takes back a grant with as many operators as it takes to grant", async () => {
    const two = await makeKeyset({ thresholds: [{ role: "OPERATOR_GRANT", signatures: 2 }] });
    const more: Partial<RevocationBody> = { kind: "GRANT" };
    expect(await verify(more, [keys.alice], two)).toMatchObject({ code: "E_THRESHOLD" });
    ok(await verify(more, [keys.alice, keys.bob], two));
  });

  const wrong: [string, Partial<RevocationBody>, string][] = [
    ["another format", { version: 3 }, "E_VERSION"],
    ["another tenant", { tenantId: "globex" }, "E_TENANT"],
    ["no kind", { kind: "UNSPECIFIED" }, "E_FIELD"],
    ["no target", { target: NONE }, "E_FIELD"],
    ["a target beside the tenant", { kind: "TENANT" }, "E_FIELD"],
    ["a target beside a resume", { kind: "RESUME" }, "E_FIELD"],
    ["epoch 0", { epoch: 0 }, "E_FIELD"],
    ["a first epoch with a predecessor", { previous: sha("p") }, "E_FIELD"],
    ["a second without", { epoch: 2 }, "E_FIELD"],
    ["a time to come", { effectiveUs: NOW + clockSkewMaxUs + 1 }, "E_NOT_YET_VALID"],
    ["a reason too long", { reason: "x".repeat(purposeMax + 1) }, "E_FIELD"],
    ["a reason that writes over the terminal", { reason: "\x1b[1A" }, "E_FIELD"],
  ];
  test.each(wrong)("is refused with %s", async (_, more, code) => {
    expect(await verify(more)).toMatchObject({ invalid: true, code });
  });

  test("is one in a row, of which none can be withheld, repeated or exchanged", async () => {
    const first = ok(await verify({}));
    const second = ok(await verify({ epoch: 2, previous: first.ref }));
    const third = ok(await verify({ epoch: 3, previous: second.ref }));
    const other = ok(await verify({ epoch: 2, previous: sha("other") }));
    expect(checkEpoch(null, first)).toBeNull();
    expect(checkEpoch(first, second)).toBeNull();
    expect(checkEpoch(null, second)).toMatchObject({ code: "E_REF" });
    expect(checkEpoch(first, third)).toMatchObject({ code: "E_REF" });
    expect(checkEpoch(first, other)).toMatchObject({ code: "E_REF" });
    expect(checkEpoch(second, second)).toMatchObject({ code: "E_ROLLBACK" });
    expect(checkEpoch(second, first)).toMatchObject({ code: "E_ROLLBACK" });
  });

  test("by a key that is compromised is nobody's", async () => {
    const held = await makeKeyset({
      keys: sortedKeys(entry("ISSUER", keys.issuer, { compromisedFromUs: NOW - 1 })),
    });
    expect(await verify({}, [keys.issuer], held)).toMatchObject({ code: "E_KEY_COMPROMISED" });
  });
});
