import { describe, expect, test } from "vitest";
import type { Signer } from "./crypto.ts";
import type { KeysetBody } from "./keyset.ts";
import { noble } from "./noble.ts";
import type { Verified } from "./signed.ts";
import { signBody } from "./signing.ts";
import {
  checkTransition,
  MOVES,
  STATES,
  TRANSITION,
  TransitionBody,
  verifyTransition,
} from "./transition.ts";

const fill = (n: number) => new Uint8Array(32).fill(n);
const T = 1_790_000_000_000_000;
const DAY = 86_400_000_000;
const signer = (n: number): Signer => ({
  publicKey: noble.publicKey(fill(n)),
  sign: async (message) => noble.sign(fill(n), message),
});
const issuer = signer(1);
const operator = signer(2);
const key = (role: "ISSUER" | "OPERATOR_GRANT", by: Signer) => ({
  role,
  key: by.publicKey,
  notBeforeUs: T - DAY,
  notAfterUs: T + DAY,
  compromisedUs: 0,
});
const keyset = {
  body: {
    tenantId: "acme",
    thresholds: [],
    keys: [key("ISSUER", issuer), key("OPERATOR_GRANT", operator)],
  },
} as unknown as Verified<KeysetBody>;
const good: TransitionBody = {
  ...TransitionBody.empty(),
  version: 1,
  transitionId: "trn_0189dcd553117d408db09496a2eef37b",
  tenantId: "acme",
  instanceId: "0189dcd553117d408db09496a2eef37b",
  ledgerId: fill(7),
  from: "RUNNING",
  to: "DEGRADED",
  cause: "CONDITION",
  condition: "SILENT",
  atUs: T,
  desired: "RUN",
  conditions: [
    { type: "SILENT", sinceUs: T, artifact: fill(8) },
    { type: "STALLED", sinceUs: T - 5, artifact: fill(8) },
  ],
};
const verify = async (body: TransitionBody, by = issuer, nowUs = T) =>
  verifyTransition(noble, await signBody(TRANSITION, body, [by]), keyset, nowUs);

describe("verifyTransition", () => {
  test("takes what the tenant's issuer recorded", async () => {
    expect(await verify(good)).toMatchObject({ body: good });
  });

  test("nobody else's word changes a state", async () => {
    expect(await verify(good, operator)).toMatchObject({ code: "E_KEY_UNKNOWN" });
    expect(await verify(good, signer(3))).toMatchObject({ code: "E_KEY_UNKNOWN" });
    expect(await verify({ ...good, tenantId: "other" })).toMatchObject({ code: "E_TENANT" });
  });

  test("nothing happened in the future", async () => {
    expect(await verify(good, issuer, T - DAY / 2)).toMatchObject({ code: "E_NOT_YET_VALID" });
  });
});

describe("checkTransition", () => {
  const legal = (body: Partial<TransitionBody>) => checkTransition({ ...good, ...body }) === null;

  test("knows the table: every other pair of states is refused, and nothing leaves STOPPED", () => {
    const pairs = STATES.flatMap((from) =>
      STATES.filter((to) =>
        legal({ from, to, cause: MOVES[from][to]?.[0] ?? "CONDITION", ...word(from, to) }),
      ).map((to) => `${from} > ${to}`),
    );
    expect(pairs).toEqual([
      "DOCKED > RUNNING",
      "DOCKED > QUARANTINED",
      "DOCKED > STOPPED",
      "RUNNING > DEGRADED",
      "RUNNING > QUARANTINED",
      "RUNNING > STOPPED",
      "DEGRADED > RUNNING",
      "DEGRADED > AUTOHEALING",
      "DEGRADED > QUARANTINED",
      "DEGRADED > STOPPED",
      "AUTOHEALING > RUNNING",
      "AUTOHEALING > DEGRADED",
      "AUTOHEALING > QUARANTINED",
      "AUTOHEALING > STOPPED",
      "QUARANTINED > DEGRADED",
      "QUARANTINED > QUARANTINED",
      "QUARANTINED > STOPPED",
    ]);
  });
  const word = (from: keyof typeof MOVES, to: keyof typeof MOVES) =>
    MOVES[from][to]?.[0] === "OPERATOR" ? { actor: fill(1), reason: "looked at" } : {};

  test("a quarantine ends by an operator's word, with a reason", () => {
    const release = { from: "QUARANTINED", to: "DEGRADED", condition: "UNSPECIFIED" } as const;
    expect(legal({ ...release, cause: "OPERATOR", actor: fill(1), reason: "mended" })).toBe(true);
    expect(legal({ ...release, cause: "OPERATOR", actor: fill(1) })).toBe(false);
    expect(legal({ ...release, cause: "OPERATOR", reason: "mended" })).toBe(false);
    expect(legal({ ...release, cause: "CONDITIONS_CLEARED" })).toBe(false);
  });

  test.each<[string, Partial<TransitionBody>]>([
    ["transitionId", { transitionId: "trn_1" }],
    ["instanceId", { instanceId: "1" }],
    ["ledgerId", { ledgerId: new Uint8Array(0) }],
    ["cause", { cause: "FIRST_BEAT" }],
    ["desired", { desired: "UNSPECIFIED" }],
    ["conditions", { conditions: [...good.conditions].reverse() }],
    ["conditions", { conditions: good.conditions.slice(0, 1).concat(good.conditions) }],
    ["actor and reason", { reason: "no operator" }],
  ])("names %s when it is wrong", (field, change) => {
    expect(checkTransition({ ...good, ...change })?.detail).toContain(`transition.${field}`);
  });
});
