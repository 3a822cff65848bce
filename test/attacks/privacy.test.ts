import { expect, test } from "vitest";
import { normaliseAuthority, normaliseGrpcPath } from "../../src/domain/claim.ts";

const CANARY = "canary-3f9a";

/** Why a request was refused goes to the sidecar's log. */
test.each([
  normaliseGrpcPath(`/a.B/C?token=${CANARY}`),
  normaliseGrpcPath(`/a.B/C#${CANARY}`),
  normaliseAuthority(`user:${CANARY}@host:1`, 80),
  normaliseAuthority(`user:${CANARY}@host`, 80),
])("a refusal repeats neither a query nor a password: %j", (refused) => {
  expect(refused).toMatchObject({ invalid: true });
  expect(JSON.stringify(refused)).not.toContain(CANARY);
});
