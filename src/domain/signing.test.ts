import { describe, expect, test } from "vitest";
import { concat, fromHex, toHex, utf8 } from "./bytes.ts";
import type { Signer } from "./crypto.ts";
import { type Invalid, isInvalid } from "./invalid.ts";
import { signaturesMax } from "./limits.ts";
import { noble } from "./noble.ts";
import { REVOCATION, RevocationBody } from "./revocation.ts";
import { pae, type SignedBytes, type SignedKind } from "./signed.ts";
import { decodeSigned, encodeSigned, openSigned, refOf, signBody } from "./signing.ts";

const signer = (n: number): Signer => {
  const seed = new Uint8Array(32).fill(n);
  return {
    publicKey: noble.publicKey(seed),
    sign: async (message) => noble.sign(seed, message),
  };
};
const [ALICE, BOB] = [signer(1), signer(2)] as const;
const value: RevocationBody = {
  ...RevocationBody.decode(new Uint8Array(0)),
  version: 1,
  tenantId: "acme",
  epoch: 1,
  kind: "TENANT",
  reason: "leaving",
};
const open = (signed: SignedBytes) => openSigned(noble, REVOCATION, signed);
const codeOf = (opened: object | Invalid) => (isInvalid(opened) ? opened.code : "opened");
const [first, second] = [0, 1] as const;

describe("a signed body", () => {
  test("opens to what was signed, and to who signed it", async () => {
    const opened = open(await signBody(REVOCATION, value, [BOB, ALICE]));
    if (isInvalid(opened)) throw new Error(opened.detail);
    expect(opened.body).toEqual(value);
    expect(opened.signers.map(toHex).sort()).toEqual(
      [ALICE, BOB].map((s) => toHex(s.publicKey)).sort(),
    );
  });

  test("is the same bytes whatever order its signers come in", async () => {
    const one = encodeSigned(await signBody(REVOCATION, value, [ALICE, BOB]));
    const other = encodeSigned(await signBody(REVOCATION, value, [BOB, ALICE]));
    expect(toHex(one)).toBe(toHex(other));
  });

  test("travels as it is", async () => {
    const signed = await signBody(REVOCATION, value, [ALICE]);
    expect(decodeSigned(encodeSigned(signed))).toEqual(signed);
    expect(codeOf(decodeSigned(fromHex("ff")))).toBe("E_ENCODING");
  });

  test("is signed as its kind, and as no other", async () => {
    const signed = await signBody(REVOCATION, value, [ALICE]);
    const elsewhere: SignedKind<RevocationBody> = { name: "directive", body: RevocationBody };
    expect(codeOf(openSigned(noble, elsewhere, signed))).toBe("E_SIGNATURE");
  });
});

describe("is refused", () => {
  test("unsigned, and with more signatures than anything asks for", async () => {
    const signed = await signBody(REVOCATION, value, [ALICE]);
    expect(codeOf(open({ ...signed, signatures: [] }))).toBe("E_SIGNATURE");
    const many = Array.from({ length: signaturesMax + 1 }, (_, i) => signer(i + 1));
    const crowd = await signBody(REVOCATION, value, many);
    expect(open(crowd)).toMatchObject({
      code: "E_SIGNATURE",
      detail: expect.stringMatching(/at most 16/),
    });
    expect(codeOf(open({ ...crowd, signatures: crowd.signatures.slice(1) }))).toBe("opened");
  });

  test("when one signature of two does not verify", async () => {
    const signed = await signBody(REVOCATION, value, [ALICE, BOB]);
    for (const which of [first, second]) {
      const bent = structuredClone(signed);
      const target = bent.signatures[which] as { value: Uint8Array };
      target.value[0] = (target.value[0] as number) ^ 1;
      expect(codeOf(open(bent))).toBe("E_SIGNATURE");
    }
  });

  test("when a key signs twice, so that it cannot count for two", async () => {
    const signed = await signBody(REVOCATION, value, [ALICE, ALICE]);
    expect(open(signed)).toMatchObject({
      code: "E_SIGNATURE",
      detail: expect.stringMatching(/signs twice/),
    });
  });

  test("by a key that is no key", async () => {
    const signed = await signBody(REVOCATION, value, [ALICE]);
    const by = (key: Uint8Array) =>
      open({ ...signed, signatures: [{ key, value: new Uint8Array(64) }] });
    expect(codeOf(by(fromHex(`01${"00".repeat(31)}`)))).toBe("E_KEY_WEAK");
    expect(codeOf(by(new Uint8Array(32).fill(0xff)))).toBe("E_KEY_NONCANONICAL");
    expect(codeOf(by(new Uint8Array(0)))).toBe("E_KEY_NONCANONICAL");
  });

  test("when its body is signed truly but is not in the strict profile", async () => {
    const body = concat(REVOCATION.body.encode(value), fromHex("5001"));
    const signature = await ALICE.sign(pae("revocation", body));
    const signed = { body, signatures: [{ key: ALICE.publicKey, value: signature }] };
    expect(open(signed)).toMatchObject({
      code: "E_ENCODING",
      detail: expect.stringMatching(/unknown field number 10/),
    });
  });
});

test("a ref is SHA-256 over its label and PAE, and knows no signatures", async () => {
  const body = REVOCATION.body.encode(value);
  expect(refOf(noble, "revocation", body)).toEqual(
    noble.sha256(concat(utf8("dragons/v1/revocation-ref\n"), pae("revocation", body))),
  );
});
