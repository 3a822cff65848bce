import { describe, expect, test } from "vitest";
import type { Signer } from "./crypto.ts";
import type { GenesisBody } from "./genesis.ts";
import {
  beatLedger,
  checkHeartbeat,
  fitHeartbeat,
  HEARTBEAT,
  HeartbeatBody,
  succession,
  verifyHeartbeat,
} from "./heartbeat.ts";
import { isInvalid } from "./invalid.ts";
import { heartbeatBytesMax } from "./limits.ts";
import { noble } from "./noble.ts";
import type { SignedKind, Verified } from "./signed.ts";
import { refOf, signBody } from "./signing.ts";

const fill = (n: number) => new Uint8Array(32).fill(n);
const NONE = new Uint8Array(0);
const T = 1_790_000_000_000_000;
const signer = (n: number): Signer => ({
  publicKey: noble.publicKey(fill(n)),
  sign: async (message) => noble.sign(fill(n), message),
});
const ledger = signer(1);
const genesis = {
  body: { tenantId: "acme", ledgerKey: ledger.publicKey },
  ref: fill(0xbb),
} as Verified<GenesisBody>;
const good: HeartbeatBody = {
  ...HeartbeatBody.empty(),
  version: 1,
  heartbeatId: "hbt_0189dcd553117d408db09496a2eef37b",
  tenantId: "acme",
  ledgerId: genesis.ref,
  sessionEpoch: 1,
  counter: 9,
  wallUs: T,
  monotonicUs: 5,
  nextDueUs: T + 10,
  child: "RUNNING",
  size: 4,
  root: fill(2),
  intentsOpened: 4,
  intentsHead: fill(3),
  grantRef: fill(4),
  leaseRef: fill(5),
  autonomyLeftUs: 60,
  manifestHash: fill(6),
  ledgerHealth: "OK",
  enforcement: "ADVISORY",
};
const verify = async (body: HeartbeatBody, by = [ledger], kind = HEARTBEAT) =>
  verifyHeartbeat(noble, await signBody(kind, body, by), beatLedger(genesis));

describe("verifyHeartbeat", () => {
  test("takes what the ledger's key signed for this tenant and ledger", async () => {
    const beat = await verify(good);
    if (isInvalid(beat)) throw new Error(beat.detail);
    expect(beat.body).toEqual(good);
    expect(beat.ref).toEqual(refOf(noble, "heartbeat", beat.signed.body));
  });

  test("another key's, another tenant's or another ledger's is refused", async () => {
    expect(await verify(good, [signer(2)])).toMatchObject({ code: "E_KEY_UNKNOWN" });
    expect(await verify(good, [ledger, signer(2)])).toMatchObject({ code: "E_SIGNATURE" });
    expect(await verify({ ...good, tenantId: "other" })).toMatchObject({ code: "E_TENANT" });
    expect(await verify({ ...good, ledgerId: fill(1) })).toMatchObject({ code: "E_LEDGER" });
  });

  test("a receipt's signature does not make a heartbeat", async () => {
    const receipt: SignedKind<HeartbeatBody> = { ...HEARTBEAT, name: "receipt" };
    expect(await verify(good, [ledger], receipt)).toMatchObject({ code: "E_SIGNATURE" });
  });

  test("1024 bytes are taken and 1025 are not", async () => {
    const room = heartbeatBytesMax - HEARTBEAT.body.encode(good).length;
    const result = (detail: string) => ({
      directiveId: "dir_0189dcd553117d408db09496a2eef37b",
      outcome: "DONE" as const,
      detail,
    });
    const sized = (n: number) => ({ ...good, directiveResults: [result("x".repeat(n))] });
    const overhead = HEARTBEAT.body.encode(sized(200)).length - 200;
    const exact = sized(heartbeatBytesMax - overhead);
    expect(room).toBeGreaterThan(200);
    expect(HEARTBEAT.body.encode(exact)).toHaveLength(heartbeatBytesMax);
    expect(await verify(exact)).toHaveProperty("ref");
    const over = sized(heartbeatBytesMax - overhead + 1);
    expect(await verify(over)).toMatchObject({ code: "E_FIELD" });
  });

  test("another version is refused", async () => {
    expect(await verify({ ...good, version: 2 })).toMatchObject({ code: "E_VERSION" });
  });
});

describe("checkHeartbeat", () => {
  test("finds nothing wrong with a good beat, nor with one that has neither lease nor agent", () => {
    expect(checkHeartbeat(good)).toBeNull();
    const early = { ...good, leaseRef: NONE, autonomyLeftUs: 0, child: "ABSENT" as const };
    expect(checkHeartbeat(early)).toBeNull();
  });

  const count = (scope: string) => ({ scope, completed: 1, failed: 0, denied: 0 });
  test.each<[string, Partial<HeartbeatBody>]>([
    ["heartbeatId", { heartbeatId: "hbt_1" }],
    ["tenantId", { tenantId: "" }],
    ["sessionEpoch", { sessionEpoch: 0 }],
    ["counter", { counter: 0 }],
    ["wallUs", { wallUs: 0 }],
    ["monotonicUs", { monotonicUs: 0 }],
    ["child", { child: "UNSPECIFIED" }],
    ["root", { root: NONE }],
    ["intentsHead", { intentsHead: NONE }],
    ["grantRef", { grantRef: NONE }],
    ["manifestHash", { manifestHash: NONE }],
    ["ledgerHealth", { ledgerHealth: "UNSPECIFIED" }],
    ["enforcement", { enforcement: "UNSPECIFIED" }],
    ["nextDueUs", { nextDueUs: T - 1 }],
    ["childExit", { childExit: 1 }],
    ["childExit", { child: "EXITED" }],
    ["oldestInFlightUs", { oldestInFlightUs: 1 }],
    ["autonomyLeftUs", { leaseRef: NONE }],
    ["scopes", { scopes: [count("b"), count("a")] }],
    ["scopes", { scopes: [count("a"), count("a")] }],
    ["directiveResults", { directiveResults: [{ directiveId: "x", outcome: "DONE", detail: "" }] }],
  ])("names %s when it is wrong", (field, change) => {
    const problem = checkHeartbeat({ ...good, ...change });
    expect(problem?.code).toBe("E_FIELD");
    expect(problem?.detail).toMatch(new RegExp(`^heartbeat\\.${field} `));
  });
});

describe("succession", () => {
  const next = (change: Partial<HeartbeatBody>) =>
    succession(good, { ...good, counter: 10, ...change });

  test("the counter rises within a session, and starts again with the next", () => {
    expect(next({})).toBe("NEXT");
    expect(next({ counter: 9 })).toBe("STALE");
    expect(next({ counter: 8 })).toBe("STALE");
    expect(next({ sessionEpoch: 2, counter: 1 })).toBe("NEXT");
  });

  test("a session that was replaced is told apart", () => {
    const last = { ...good, sessionEpoch: 2 };
    expect(succession(last, { ...good, counter: 100 })).toBe("OLD_SESSION");
  });

  test("history only grows", () => {
    expect(next({ size: 5, root: fill(9), intentsOpened: 6, intentsHead: fill(8) })).toBe("NEXT");
    expect(next({ size: 3, root: fill(9) })).toBe("REGRESS");
    expect(next({ size: 5, root: fill(9), intentsOpened: 3, intentsHead: fill(8) })).toBe(
      "REGRESS",
    );
  });

  test("two histories of one length are a fork, whichever session or counter tells", () => {
    expect(next({ root: fill(9) })).toBe("FORK");
    expect(next({ intentsHead: fill(9) })).toBe("FORK");
    expect(next({ root: fill(9), counter: 1 })).toBe("FORK");
    expect(succession({ ...good, sessionEpoch: 2 }, { ...good, root: fill(9) })).toBe("FORK");
  });

  test("a successor ledger begins its own history", () => {
    expect(next({ ledgerId: fill(1), size: 0, root: fill(9), intentsOpened: 0 })).toBe("NEXT");
  });
});

describe("fitHeartbeat", () => {
  const scopes = Array.from({ length: 64 }, (_, i) => ({
    scope: `read:${"x".repeat(40)}${String(i).padStart(2, "0")}`,
    completed: i,
    failed: 1,
    denied: 2,
  }));
  const sum = (b: HeartbeatBody) =>
    b.scopes.reduce((n, s) => n + s.completed * 10_000 + s.failed * 100 + s.denied, 0);

  test("leaves a small beat as it is", () => {
    const small = { ...good, scopes: scopes.slice(0, 3) };
    expect(fitHeartbeat(small)).toEqual(small);
  });

  test("names the busiest scopes and adds up the others, so that no count is lost", () => {
    const fitted = fitHeartbeat({ ...good, scopes });
    expect(HEARTBEAT.body.encode(fitted).length).toBeLessThanOrEqual(heartbeatBytesMax);
    expect(fitted.scopes.length).toBeGreaterThan(5);
    expect(sum(fitted)).toBe(sum({ ...good, scopes }));
    expect(fitted.scopes[0]?.scope).toBe("");
    expect(fitted.scopes.at(-1)).toEqual(scopes.at(-1));
    expect(checkHeartbeat(fitted)).toBeNull();
  });

  test("keeps what was spent where it presses most, in the order of scopes", () => {
    const pressing = scopes
      .map(({ scope }, i) => ({ scope, actions: 1000 + i, bytes: 0 }))
      .reverse();
    const fitted = fitHeartbeat({ ...good, scopes, spent: pressing });
    expect(HEARTBEAT.body.encode(fitted).length).toBeLessThanOrEqual(heartbeatBytesMax);
    expect(sum(fitted)).toBe(sum({ ...good, scopes }));
    expect(fitted.spent.length).toBeGreaterThan(5);
    expect(fitted.spent.toReversed()).toEqual(pressing.slice(0, fitted.spent.length));
    expect(checkHeartbeat(fitted)).toBeNull();
  });
});
