import { createPublicKey, verify as opensslVerify } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { etc, verify as nobleVerify, Point, utils } from "@noble/ed25519";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { concat, fromHex, toHex, utf8 } from "../domain/bytes.ts";
import { keyTablesMax } from "../domain/limits.ts";
import { noble } from "../domain/noble.ts";
import { native, nativeWith } from "./crypto.ts";
import { VerifyThread } from "./verify-thread.ts";

const VECTORS = join(import.meta.dirname, "../../test/vectors/ed25519");
const read = (name: string) => JSON.parse(readFileSync(join(VECTORS, name), "utf8"));
const ORDER = Point.CURVE().n;
const MESSAGE = utf8("an action that was carried out");
const SEED = Uint8Array.from({ length: 32 }, (_, i) => i);

const thread = new VerifyThread({ gather: () => Promise.resolve() });
afterAll(() => thread.close());

const implementations = [
  ["noble", noble],
  ["native", native],
] as const;

/** RFC 8032 §7.1: seed, key, message, signature. */
const RFC8032 = [
  [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "",
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  ],
  [
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "72",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  ],
  [
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    "af82",
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
  ],
  [
    "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
    "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
  ],
] as const;

const TORSION = Point.fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa");

function littleEndian(n: bigint): Uint8Array {
  return fromHex(n.toString(16).padStart(64, "0")).toReversed();
}

/** The eight points of small order in all encodings that a careless decoder takes: y or y + p, sign 0 or 1. */
const SMALL_ORDER: Uint8Array[] = (() => {
  const { p } = Point.CURVE();
  const ys = new Set<bigint>();
  for (let multiple = 1n; multiple <= 8n; multiple++) {
    const { y } = TORSION.multiply(multiple % 8n, false).toAffine();
    for (const spelled of [y, y + p]) if (spelled < 2n ** 255n) ys.add(spelled);
  }
  return [...ys].flatMap((y) => [y, y | (1n << 255n)]).map(littleEndian);
})();

/** What a library says that stops at its own idea of strict. */
const lenient = {
  noble: (key: Uint8Array, message: Uint8Array, signature: Uint8Array) =>
    nobleVerify(signature, message, key, { zip215: false }),
  openssl: (key: Uint8Array, message: Uint8Array, signature: Uint8Array) =>
    opensslVerify(
      null,
      message,
      createPublicKey({
        key: { kty: "OKP", crv: "Ed25519", x: Buffer.from(key).toString("base64url") },
        format: "jwk",
      }),
      signature,
    ),
};

async function challenge(r: Uint8Array, key: Uint8Array, message: Uint8Array): Promise<bigint> {
  const digest = new Uint8Array(
    await crypto.subtle.digest("SHA-512", new Uint8Array(concat(r, key, message))),
  );
  return etc.mod(BigInt(`0x${toHex(digest.toReversed())}`), ORDER);
}

/** Signs as the key's holder may who does not follow the recipe: R and key shifted at will. */
async function crookedSign(
  options: { nonce: bigint; shiftR: Point; shiftKey: Point },
  message = MESSAGE,
): Promise<{ key: Uint8Array; signature: Uint8Array; k: bigint }> {
  const { scalar, point } = utils.getExtendedPublicKey(SEED);
  const key = point.add(options.shiftKey).toBytes();
  const r = Point.BASE.multiply(options.nonce, false).add(options.shiftR).toBytes();
  const k = await challenge(r, key, message);
  const s = etc.mod(options.nonce + k * scalar, ORDER);
  return { key, signature: concat(r, littleEndian(s)), k };
}

describe.each(implementations)("Ed25519 by the strict rule: %s", (_, subject) => {
  test.each(RFC8032)("RFC 8032 §7.1 %#", (seed, key, message, signature) => {
    expect(toHex(subject.publicKey(fromHex(seed)))).toBe(key);
    expect(toHex(subject.sign(fromHex(seed), fromHex(message)))).toBe(signature);
    expect(subject.verify(fromHex(key), fromHex(message), fromHex(signature))).toBe(true);
    expect(subject.keyProblem(fromHex(key))).toBeNull();
  });

  test("agrees with all 151 Wycheproof cases", () => {
    let checked = 0;
    for (const group of read("wycheproof.json").testGroups) {
      for (const { tcId, msg, sig, result } of group.tests) {
        const verdict = subject.verify(fromHex(group.publicKey.pk), fromHex(msg), fromHex(sig));
        expect([tcId, verdict]).toEqual([tcId, result === "valid"]);
        checked++;
      }
    }
    expect(checked).toBe(151);
  });

  test("refuses every case of ed25519-speccheck, on which libraries disagree", () => {
    const cases = read("speccheck.json");
    expect(cases).toHaveLength(12);
    for (const { pub_key, message, signature } of cases) {
      expect(subject.verify(fromHex(pub_key), fromHex(message), fromHex(signature))).toBe(false);
    }
  });

  test("refuses an R with torsion that the signer made", async () => {
    for (let multiple = 1n; multiple < 8n; multiple++) {
      const { key, signature } = await crookedSign({
        nonce: 12345n + multiple,
        shiftR: TORSION.multiply(multiple),
        shiftKey: Point.ZERO,
      });
      expect(lenient.noble(key, MESSAGE, signature)).toBe(true);
      expect(subject.verify(key, MESSAGE, signature)).toBe(false);
    }
  });

  test("refuses a key of mixed order, even where both equations hold", async () => {
    for (let nonce = 1n; ; nonce++) {
      const crooked = { nonce, shiftR: Point.ZERO, shiftKey: TORSION };
      const { key, signature, k } = await crookedSign(crooked);
      if (k % 8n !== 0n) continue;
      expect(lenient.noble(key, MESSAGE, signature)).toBe(true);
      expect(lenient.openssl(key, MESSAGE, signature)).toBe(true);
      expect(subject.keyProblem(key)).toBe("E_KEY_WEAK");
      expect(subject.verify(key, MESSAGE, signature)).toBe(false);
      break;
    }
  });

  test("takes no torsion that a signer added, to key, R or both", async () => {
    for (let onKey = 0n; onKey < 8n; onKey++) {
      for (let onR = 0n; onR < 8n; onR++) {
        const { key, signature } = await crookedSign({
          nonce: 1000n + 8n * onKey + onR,
          shiftR: TORSION.multiply(onR, false),
          shiftKey: TORSION.multiply(onKey, false),
        });
        const verdict = subject.verify(key, MESSAGE, signature);
        expect([onKey, onR, verdict]).toEqual([onKey, onR, onKey === 0n && onR === 0n]);
        expect(subject.keyProblem(key)).toBe(onKey === 0n ? null : "E_KEY_WEAK");
      }
    }
  });

  test("takes no point of small order, in any spelling, for key or R", () => {
    const good = subject.publicKey(SEED);
    const honest = subject.sign(SEED, MESSAGE);
    for (const odd of SMALL_ORDER) {
      expect(subject.keyProblem(odd)).not.toBeNull();
      for (const s of [0n, 1n, ORDER - 1n, ORDER, 8n * ORDER]) {
        const signature = concat(odd, littleEndian(s));
        for (const key of [good, ...SMALL_ORDER])
          expect(subject.verify(key, MESSAGE, signature)).toBe(false);
      }
      expect(subject.verify(good, MESSAGE, concat(odd, honest.slice(32)))).toBe(false);
      expect(subject.verify(odd, MESSAGE, honest)).toBe(false);
    }
  });

  test("stays right while more keys take turns than are remembered with a table", () => {
    const seeds = Array.from({ length: keyTablesMax + 2 }, (_, n) => subject.sha256(utf8(`${n}`)));
    const keys = seeds.map((seed) => subject.publicKey(seed));
    for (let round = 0; round < 20; round++) {
      for (const [n, seed] of seeds.entries()) {
        const message = utf8(`${round} of ${n}`);
        const signature = subject.sign(seed, message);
        expect(subject.verify(keys[n] as Uint8Array, message, signature)).toBe(true);
        const next = keys[(n + 1) % keys.length] as Uint8Array;
        expect(subject.verify(next, message, signature)).toBe(false);
      }
    }
  });

  test("stays as strict however often a key is used", async () => {
    const seed = subject.sha256(utf8("a key that signs much"));
    const key = subject.publicKey(seed);
    for (let n = 0; n < 60; n++) {
      const message = utf8(`receipt ${n}`);
      const signature = subject.sign(seed, message);
      expect(subject.verify(key, message, signature)).toBe(true);
      const changed = signature.slice();
      changed[n] = (changed[n] as number) ^ 1;
      expect(subject.verify(key, message, changed)).toBe(false);
      expect(subject.verify(key, utf8(`receipt ${n + 1}`), signature)).toBe(false);
    }
    const good = await crookedSign({ nonce: 77n, shiftR: Point.ZERO, shiftKey: Point.ZERO });
    for (let n = 0; n < 20; n++) subject.verify(good.key, MESSAGE, good.signature);
    expect(subject.verify(good.key, MESSAGE, good.signature)).toBe(true);
    const torsion = await crookedSign({ nonce: 77n, shiftR: TORSION, shiftKey: Point.ZERO });
    expect(torsion.key).toEqual(good.key);
    expect(lenient.noble(torsion.key, MESSAGE, torsion.signature)).toBe(true);
    expect(subject.verify(torsion.key, MESSAGE, torsion.signature)).toBe(false);
  });

  test("refuses the identity as R", async () => {
    const { key, signature } = await crookedSign({
      nonce: 0n,
      shiftR: Point.ZERO,
      shiftKey: Point.ZERO,
    });
    expect(lenient.noble(key, MESSAGE, signature)).toBe(true);
    expect(subject.verify(key, MESSAGE, signature)).toBe(false);
  });

  test("refuses S + L, the same signature spelled twice", () => {
    const signature = subject.sign(SEED, MESSAGE);
    const s = BigInt(`0x${toHex(signature.slice(32).toReversed())}`);
    const twin = concat(signature.slice(0, 32), littleEndian(s + ORDER));
    const key = subject.publicKey(SEED);
    expect(subject.verify(key, MESSAGE, signature)).toBe(true);
    expect(subject.verify(key, MESSAGE, twin)).toBe(false);
  });

  test("says what is wrong with a key", () => {
    for (let multiple = 1n; multiple <= 8n; multiple++) {
      const small = multiple === 8n ? Point.ZERO : TORSION.multiply(multiple);
      expect(subject.keyProblem(small.toBytes())).toBe("E_KEY_WEAK");
    }
    const p = Point.CURVE().p;
    const noncanonical = [
      littleEndian(p), // y = 0 as p
      littleEndian(p + 1n), // the identity as p + 1
      fromHex(`01${"00".repeat(30)}80`), // the identity with a sign
      fromHex(`02${"00".repeat(31)}`), // no point has y = 2
      new Uint8Array(0),
      new Uint8Array(33),
    ];
    for (const key of noncanonical) expect(subject.keyProblem(key)).toBe("E_KEY_NONCANONICAL");
  });

  test("a signature or key of the wrong length is false, not thrown", () => {
    const key = subject.publicKey(SEED);
    const signature = subject.sign(SEED, MESSAGE);
    expect(subject.verify(key, MESSAGE, signature.slice(1))).toBe(false);
    expect(subject.verify(key, MESSAGE, concat(signature, Uint8Array.of(0)))).toBe(false);
    expect(subject.verify(key.slice(1), MESSAGE, signature)).toBe(false);
    expect(subject.verify(new Uint8Array(0), MESSAGE, new Uint8Array(0))).toBe(false);
  });

  test("sha256 of FIPS 180-2, over the parts in order", () => {
    const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    expect(toHex(subject.sha256(utf8("abc")))).toBe(abc);
    expect(toHex(subject.sha256(utf8("a"), utf8(""), utf8("bc")))).toBe(abc);
    expect(toHex(subject.sha256())).toBe(
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    );
  });

  test("answers with plain bytes of their own", () => {
    const [digest, key] = [subject.sha256(MESSAGE), subject.publicKey(SEED)];
    for (const bytes of [digest, key, subject.sign(SEED, MESSAGE)]) {
      expect(bytes.constructor).toBe(Uint8Array);
      expect(bytes.buffer.byteLength).toBe(bytes.length);
    }
  });
});

describe("both implementations are one", () => {
  const bytes = (max: number) => fc.uint8Array({ maxLength: max });
  const seeds = fc.uint8Array({ minLength: 32, maxLength: 32 });

  test("they hash alike, however the input is cut", () => {
    fc.assert(
      fc.property(fc.array(bytes(300), { maxLength: 6 }), (parts) => {
        expect(native.sha256(...parts)).toEqual(noble.sha256(...parts));
      }),
    );
    const large = [new Uint8Array(16 * 1024).fill(7), Uint8Array.of(1)];
    expect(native.sha256(...large)).toEqual(noble.sha256(...large));
  });

  test("they derive and sign alike", () => {
    fc.assert(
      fc.property(seeds, bytes(200), (seed, message) => {
        expect(native.publicKey(seed)).toEqual(noble.publicKey(seed));
        expect(native.sign(seed, message)).toEqual(noble.sign(seed, message));
      }),
      { numRuns: 30 },
    );
  });

  test("they judge alike a signature with one bit changed", () => {
    const key = native.publicKey(SEED);
    const signature = native.sign(SEED, MESSAGE);
    fc.assert(
      fc.property(fc.nat(64 * 8 - 1), fc.constantFrom("key", "signature"), (bit, which) => {
        const changed = { key: key.slice(), signature: signature.slice() };
        const at = (bit >> 3) % changed[which].length;
        changed[which][at] = (changed[which][at] as number) ^ (1 << (bit & 7));
        expect(native.verify(changed.key, MESSAGE, changed.signature)).toBe(false);
        expect(noble.verify(changed.key, MESSAGE, changed.signature)).toBe(false);
      }),
      { numRuns: 200 },
    );
  });

  test.each([
    ["by libuv's threads", native],
    ["by a thread of its own", nativeWith(thread)],
  ])("what is found out beside is what verify says: %s", async (_, { verifyBeside }) => {
    const asked: [Uint8Array, Uint8Array, Uint8Array][] = [
      ...read("speccheck.json").map((c: Record<string, string>) =>
        [c.pub_key, c.message, c.signature].map((hex) => fromHex(hex as string)),
      ),
      ...read("wycheproof.json").testGroups.flatMap(
        (g: { publicKey: { pk: string }; tests: { msg: string; sig: string }[] }) =>
          g.tests.map((t) => [g.publicKey.pk, t.msg, t.sig].map(fromHex)),
      ),
      [new Uint8Array(0), MESSAGE, new Uint8Array(64)],
    ];
    const beside = await Promise.all(asked.map(async (a) => verifyBeside?.(...a)));
    expect(beside).toEqual(asked.map((a) => native.verify(...a)));
    expect(new Set(beside)).toEqual(new Set([true, false]));
  });

  test("a seed whose bytes change is another key", () => {
    const seed = SEED.slice();
    const before = native.sign(seed, MESSAGE);
    seed[0] = 255;
    expect(native.sign(seed, MESSAGE)).not.toEqual(before);
  });
});
