import { describe, expect, test } from "vitest";
import { toBase64Url, utf8 } from "./bytes.ts";
import { isInvalid } from "./invalid.ts";
import { noble } from "./noble.ts";
import { checkToken, parseToken, signToken, type TokenClaims } from "./token.ts";

const seed = new Uint8Array(32).fill(7);
const signer = {
  publicKey: noble.publicKey(seed),
  sign: async (m: Uint8Array) => noble.sign(seed, m),
};
const AUDIENCE = "dcp_1";
const IAT = 1_700_000_000;
const claims: TokenClaims = {
  iss: "alice",
  sub: "alice",
  aud: AUDIENCE,
  tenant: "acme",
  iat: IAT,
  exp: IAT + 600,
  jti: "t-1",
};
const at = (seconds: number): number => (IAT + seconds) * 1_000_000;

async function judge(token: string, nowUs = at(1), audience = AUDIENCE) {
  const parsed = parseToken(token);
  return isInvalid(parsed) ? parsed : checkToken(noble, parsed, audience, nowUs);
}
const part = (value: unknown): string => toBase64Url(utf8(JSON.stringify(value)));

/** Signs whatever is given, as somebody does who writes tokens by hand. */
async function forge(header: object, body: object): Promise<string> {
  const input = `${part(header)}.${part(body)}`;
  return `${input}.${toBase64Url(noble.sign(seed, utf8(input)))}`;
}
const kid = Array.from(signer.publicKey, (b) => b.toString(16).padStart(2, "0")).join("");

describe("login tokens", () => {
  test("what is signed here is read back and holds", async () => {
    const token = await signToken(claims, signer);
    const parsed = parseToken(token);
    if (isInvalid(parsed)) throw new Error(parsed.detail);
    expect(parsed.claims).toEqual(claims);
    expect(parsed.key).toEqual(signer.publicKey);
    expect(await judge(token)).toBeNull();
  });

  test("holds from iat, less the skew, until just before exp", async () => {
    const token = await signToken(claims, signer);
    expect(await judge(token, at(-60))).toBeNull();
    expect(await judge(token, at(-60) - 1)).toMatchObject({ code: "E_NOT_YET_VALID" });
    expect(await judge(token, at(600) - 1)).toBeNull();
    expect(await judge(token, at(600))).toMatchObject({ code: "E_EXPIRED" });
  });

  test("lives ten minutes at most", async () => {
    expect(await judge(await signToken({ ...claims, exp: IAT + 601 }, signer))).toMatchObject({
      detail: expect.stringContaining("token.exp"),
    });
    expect(await judge(await signToken({ ...claims, exp: IAT }, signer))).toMatchObject({
      detail: expect.stringContaining("token.exp"),
    });
  });

  test("is for one control plane", async () => {
    const token = await signToken(claims, signer);
    expect(await judge(token, at(1), "dcp_2")).toMatchObject({
      detail: expect.stringContaining("dcp_2"),
    });
  });

  test("any change of a signed character, or of the signature, spoils it", async () => {
    const token = await signToken(claims, signer);
    const other = (c: string): string => (c === "A" ? "B" : "A");
    for (let i = 0; i < token.length; i += 7) {
      if (token[i] === ".") continue;
      const changed = token.slice(0, i) + other(token[i] as string) + token.slice(i + 1);
      expect(isInvalid((await judge(changed)) ?? {}), `character ${i}`).toBe(true);
    }
  });

  test.each([
    ["alg none", { alg: "none", kid }, claims, "token.alg"],
    ["another alg", { alg: "HS256", kid }, claims, "token.alg"],
    ["no alg", { kid }, claims, "token.alg"],
    ["critical extension", { alg: "EdDSA", kid, crit: ["b64"] }, claims, "token.crit"],
    ["no kid", { alg: "EdDSA" }, claims, "token.kid"],
    ["kid in capitals", { alg: "EdDSA", kid: kid.toUpperCase() }, claims, "token.kid"],
    ["no tenant", { alg: "EdDSA", kid }, { ...claims, tenant: undefined }, "token.tenant"],
    ["audience in a list", { alg: "EdDSA", kid }, { ...claims, aud: [AUDIENCE] }, "token.aud"],
    ["fractional time", { alg: "EdDSA", kid }, { ...claims, iat: 1.5 }, "token.iat"],
    ["time as text", { alg: "EdDSA", kid }, { ...claims, exp: "9" }, "token.exp"],
    ["claims that call themselves invalid", { alg: "EdDSA", kid }, { invalid: true }, "token.iss"],
    ["a list for a header", [], claims, "header"],
  ])("names what is wrong: %s", async (_, header, body, names) => {
    const said = await judge(await forge(header, body));
    expect(said).toMatchObject({ invalid: true, detail: expect.stringContaining(names) });
  });

  test.each(["", ".", "a.b", "a.b.c.d", "é.é.é", "=.=.=", "x".repeat(5000)])(
    "is not fooled by text that is no token: %s",
    async (text) => {
      expect(await judge(text)).toMatchObject({ invalid: true, code: "E_ENCODING" });
    },
  );

  test("a weak key signs nothing", async () => {
    const weak = "0100000000000000000000000000000000000000000000000000000000000000";
    const token = await forge({ alg: "EdDSA", kid: weak }, claims);
    expect(await judge(token)).toMatchObject({ code: "E_SIGNATURE" });
  });
});
