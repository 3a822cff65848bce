import { describe, expect, test } from "vitest";
import {
  DAY,
  entry,
  keyNamed,
  keys,
  keysetBody,
  makeKeyset,
  NOW,
  ok,
  sha,
  sortedKeys,
} from "../../test/fixtures/authority.ts";
import { native } from "../native/crypto.ts";
import {
  checkSigners,
  controlLedgerKey,
  droppedKey,
  KEYSET,
  type KeysetBody,
  keysOf,
  verdictsUntilUs,
  verifyKeyset,
} from "./keyset.ts";
import { controlCaBytesMax, controlCasMax, keysetKeysMax, nameMax } from "./limits.ts";
import { signBody } from "./signing.ts";

const verify = async (more: Partial<KeysetBody>, by = [keys.root], atLeast = 0) =>
  verifyKeyset(native, await signBody(KEYSET, keysetBody(more), by), keys.root.publicKey, atLeast);

const bytesOf = (...all: number[]): Uint8Array => Uint8Array.from(all);

const filler = (count: number) =>
  Array.from({ length: count }, (_, i) => entry("WITNESS", keyNamed(`w${i}`)));

describe("the key of the control plane's ledger", () => {
  const named = (...all: [Parameters<typeof entry>[1], number][]) =>
    controlLedgerKey(
      keysetBody({
        keys: sortedKeys(
          ...all.map(([key, notBeforeUs]) =>
            entry("CONTROL_LEDGER", key, { notBeforeUs, compromisedFromUs: NOW - DAY }),
          ),
        ),
      }),
    );

  test("is the one that begins last, whatever became of it, and one alone", () => {
    const [old, next] = [keys.controlLedger, keyNamed("next")];
    expect(named([old, 1])).toEqual(old.publicKey);
    expect(named([old, 1], [next, 2])).toEqual(next.publicKey);
    expect(named([old, 2], [next, 1])).toEqual(old.publicKey);
    const greater = sortedKeys(entry("ISSUER", old), entry("ISSUER", next))[1]?.key;
    expect(named([old, 1], [next, 1])).toEqual(greater);
    expect(named()).toBeNull();
  });
});

test("a key is dropped when it is gone, or stands in another role", () => {
  const both = keysetBody({ keys: [entry("ISSUER", keys.issuer), entry("WITNESS", keys.bob)] });
  const ended = entry("ISSUER", keys.issuer, { notAfterUs: NOW, compromisedFromUs: NOW - DAY });
  const kept = keysetBody({ keys: [ended, entry("WITNESS", keys.bob)] });
  expect(droppedKey(both, kept)).toBeNull();
  expect(droppedKey(both, keysetBody({ keys: [ended] }))?.key).toEqual(keys.bob.publicKey);
  const moved = keysetBody({ keys: [ended, entry("COSIGNER", keys.bob)] });
  expect(droppedKey(both, moved)?.role).toBe("WITNESS");
});

describe("a keyset", () => {
  test("is believed when the pinned root alone signed it", async () => {
    expect(ok(await verify({})).body.tenantId).toBe("acme");
    expect(await verify({}, [keys.alice])).toMatchObject({ code: "E_KEY_UNKNOWN" });
    expect(await verify({}, [keys.root, keys.alice])).toMatchObject({ code: "E_KEY_UNKNOWN" });
  });

  test("never goes back to a version below one that was seen", async () => {
    const second = { keysetVersion: 2, previous: sha("first") };
    ok(await verify(second, [keys.root], 2));
    expect(await verify(second, [keys.root], 3)).toMatchObject({ code: "E_ROLLBACK" });
  });

  const wrong: [string, Partial<KeysetBody>, string][] = [
    ["another format", { version: 2 }, "E_VERSION"],
    ["no tenant", { tenantId: "" }, "E_FIELD"],
    ["a tenant's name with a slash", { tenantId: "a/b" }, "E_FIELD"],
    ["a tenant's name that is too long", { tenantId: "a".repeat(nameMax + 1) }, "E_FIELD"],
    ["version 0", { keysetVersion: 0 }, "E_FIELD"],
    ["no time of issue", { issuedAtUs: 0 }, "E_FIELD"],
    ["a first version with a predecessor", { previous: sha("x") }, "E_FIELD"],
    ["a second version without", { keysetVersion: 2 }, "E_FIELD"],
    ["keys out of order", { keys: keysetBody().keys.reverse() }, "E_FIELD"],
    [
      "a key twice",
      { keys: [entry("ISSUER", keys.issuer), entry("ISSUER", keys.issuer)] },
      "E_FIELD",
    ],
    [
      "a key in two roles",
      { keys: [entry("OPERATOR_GRANT", keys.issuer), entry("ISSUER", keys.issuer)] },
      "E_FIELD",
    ],
    ["the root in a role", { keys: [entry("ISSUER", keys.root)] }, "E_FIELD"],
    ["a key without a role", { keys: [entry("UNSPECIFIED", keys.issuer)] }, "E_FIELD"],
    [
      "no key in an entry",
      { keys: [entry("ISSUER", { ...keys.issuer, publicKey: new Uint8Array() })] },
      "E_FIELD",
    ],
    [
      "the identity as a key",
      {
        keys: [
          {
            ...entry("ISSUER", keys.issuer),
            key: Uint8Array.from([1, ...Array.from({ length: 31 }, () => 0)]),
          },
        ],
      },
      "E_KEY_WEAK",
    ],
    [
      "an empty interval",
      { keys: [entry("ISSUER", keys.issuer, { notAfterUs: 5, notBeforeUs: 5 })] },
      "E_FIELD",
    ],
    [
      "a login without a role",
      { keys: [entry("OPERATOR_LOGIN", keys.login, { loginRole: "UNSPECIFIED" })] },
      "E_FIELD",
    ],
    [
      "a login role elsewhere",
      { keys: [entry("ISSUER", keys.issuer, { loginRole: "ADMIN" })] },
      "E_FIELD",
    ],
    [
      "a holder who writes over the terminal",
      { keys: [entry("ISSUER", keys.issuer, { holder: "\x1b[2K" })] },
      "E_FIELD",
    ],
    ["a threshold of none", { thresholds: [{ role: "OPERATOR_GRANT", signatures: 0 }] }, "E_FIELD"],
    [
      "a threshold above the keys",
      { thresholds: [{ role: "OPERATOR_GRANT", signatures: 3 }] },
      "E_FIELD",
    ],
    [
      "a threshold that nothing holds",
      {
        keys: sortedKeys(entry("ISSUER", keys.issuer), entry("ISSUER", keys.bob)),
        thresholds: [{ role: "ISSUER", signatures: 2 }],
      },
      "E_FIELD",
    ],
    [
      "a threshold twice",
      {
        thresholds: [
          { role: "OPERATOR_GRANT", signatures: 1 },
          { role: "OPERATOR_GRANT", signatures: 2 },
        ],
      },
      "E_FIELD",
    ],
    ["an authority of no bytes", { controlCas: [new Uint8Array()] }, "E_FIELD"],
    [
      "an authority that is too long",
      { controlCas: [new Uint8Array(controlCaBytesMax + 1)] },
      "E_FIELD",
    ],
    ["authorities out of order", { controlCas: [bytesOf(2), bytesOf(1)] }, "E_FIELD"],
    ["an authority twice", { controlCas: [bytesOf(1), bytesOf(1)] }, "E_FIELD"],
    [
      "more authorities than may be",
      { controlCas: Array.from({ length: controlCasMax + 1 }, (_, i) => bytesOf(i + 1)) },
      "E_FIELD",
    ],
    ["more keys than may be", { keys: sortedKeys(...filler(keysetKeysMax + 1)) }, "E_FIELD"],
  ];
  test.each(wrong)("is refused with %s", async (_, more, code) => {
    expect(await verify(more)).toMatchObject({ invalid: true, code });
  });

  test("holds as many keys as may be", async () => {
    ok(await verify({ keys: sortedKeys(...filler(keysetKeysMax)), tenantId: "a".repeat(nameMax) }));
  });

  test("names as many authorities, of as many bytes, as may be", async () => {
    const controlCas = Array.from({ length: controlCasMax }, (_, i) =>
      new Uint8Array(controlCaBytesMax).fill(i),
    );
    expect(ok(await verify({ controlCas })).body.controlCas).toEqual(controlCas);
  });
});

describe("keysOf", () => {
  test("gives the keys of the role that speak now: the interval is half-open", async () => {
    const from = NOW;
    const until = NOW + DAY;
    const keyset = await makeKeyset({
      keys: sortedKeys(
        entry("ISSUER", keys.issuer, { notBeforeUs: from, notAfterUs: until }),
        entry("WITNESS", keys.bob, { compromisedFromUs: NOW + 10 }),
      ),
    });
    expect(keysOf(keyset, "ISSUER", from - 1)).toHaveLength(0);
    expect(keysOf(keyset, "ISSUER", from)).toHaveLength(1);
    expect(keysOf(keyset, "ISSUER", until - 1)).toHaveLength(1);
    expect(keysOf(keyset, "ISSUER", until)).toHaveLength(0);
    expect(keysOf(keyset, "OPERATOR_GRANT", from)).toHaveLength(0);
    expect(keysOf(keyset, "WITNESS", NOW + 9)).toHaveLength(1);
    expect(keysOf(keyset, "WITNESS", NOW + 10)).toHaveLength(0);
  });
});

describe("who may sign", () => {
  const times = { signedAtUs: NOW, nowUs: NOW };
  const two = { thresholds: [{ role: "OPERATOR_GRANT" as const, signatures: 2 }] };

  test("m of n: as many distinct operators as the threshold says", async () => {
    const keyset = await makeKeyset(two);
    const check = (...by: Uint8Array[]) =>
      checkSigners("grant", keyset, "OPERATOR_GRANT", by, times);
    expect(check(keys.alice.publicKey)).toMatchObject({ code: "E_THRESHOLD" });
    expect(check(keys.alice.publicKey, keys.bob.publicKey)).toBeNull();
    expect(check(keys.alice.publicKey, keys.issuer.publicKey)).toMatchObject({
      code: "E_KEY_UNKNOWN",
    });
  });

  test("a compromised key counts for nothing, whatever time its holder wrote", async () => {
    const keyset = await makeKeyset({
      keys: [entry("ISSUER", keys.issuer, { compromisedFromUs: NOW })],
    });
    const check = (signedAtUs: number, nowUs: number) =>
      checkSigners("lease", keyset, "ISSUER", [keys.issuer.publicKey], { signedAtUs, nowUs });
    expect(check(NOW - DAY, NOW)).toMatchObject({ code: "E_KEY_COMPROMISED" });
    expect(check(NOW - DAY, NOW - 1)).toBeNull();
  });

  test("what was said of a signature holds to the microsecond until a key begins to be compromised", async () => {
    const keyset = await makeKeyset({
      keys: sortedKeys(
        entry("ISSUER", keys.issuer, { compromisedFromUs: NOW + DAY }),
        entry("OPERATOR_GRANT", keys.bob, { compromisedFromUs: NOW - DAY }),
      ),
    });
    const check = (nowUs: number) =>
      checkSigners("lease", keyset, "ISSUER", [keys.issuer.publicKey], { signedAtUs: NOW, nowUs });
    const untilUs = verdictsUntilUs(keyset, NOW);
    expect(check(NOW)).toBeNull();
    expect(check(untilUs - 1)).toBeNull();
    expect(check(untilUs)).toMatchObject({ code: "E_KEY_COMPROMISED" });
    expect(verdictsUntilUs(keyset, untilUs)).toBe(Number.POSITIVE_INFINITY);
  });

  test("one operator's spoiled key does not undo enough others", async () => {
    const keyset = await makeKeyset({
      keys: sortedKeys(
        entry("OPERATOR_GRANT", keys.alice, { compromisedFromUs: NOW }),
        entry("OPERATOR_GRANT", keys.bob),
      ),
    });
    const both = [keys.alice.publicKey, keys.bob.publicKey];
    expect(checkSigners("grant", keyset, "OPERATOR_GRANT", both, times)).toBeNull();
    expect(checkSigners("grant", keyset, "OPERATOR_GRANT", both.slice(0, 1), times)).toMatchObject({
      code: "E_KEY_COMPROMISED",
    });
  });

  test("a key outside its interval at the time of signing has not signed", async () => {
    const keyset = await makeKeyset();
    const by = [keys.issuer.publicKey];
    const check = (signedAtUs: number) =>
      checkSigners("lease", keyset, "ISSUER", by, { signedAtUs, nowUs: NOW });
    expect(check(NOW + 30 * DAY)).toMatchObject({ code: "E_KEY_EXPIRED" });
    expect(check(NOW + 30 * DAY - 1)).toBeNull();
    expect(check(NOW - 30 * DAY - 1)).toMatchObject({ code: "E_KEY_EXPIRED" });
  });

  test("what carries one signature carries one", async () => {
    const more = { keys: sortedKeys(entry("ISSUER", keys.issuer), entry("ISSUER", keys.bob)) };
    const by = [keys.issuer.publicKey, keys.bob.publicKey];
    expect(checkSigners("lease", await makeKeyset(more), "ISSUER", by, times)).toMatchObject({
      code: "E_SIGNATURE",
    });
  });
});
