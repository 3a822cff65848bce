import { fromBase64Url, fromHex, text, toBase64Url, toHex, utf8 } from "./bytes.ts";
import type { Crypto, Signer } from "./crypto.ts";
import { type Invalid, invalid } from "./invalid.ts";
import { clockSkewMaxUs, loginTokenCharsMax, loginTokenTtlUs } from "./limits.ts";

/**
 * What an operator, or a client in any language, signs in with: a compact JWS (RFC 7515) by its own
 * login key. Times are whole seconds, as JWT has them.
 *
 *     base64url({"alg":"EdDSA","kid":"<hex public key>","typ":"JWT"}) "."
 *     base64url({"iss":"alice","sub":"alice","aud":"<control plane>","tenant":"acme",
 *                "iat":1700000000,"exp":1700000600,"jti":"…"}) "."
 *     base64url(Ed25519 over the ASCII of the two)
 */
export interface TokenClaims {
  /** Who holds the key, as the keyset has it. */
  readonly iss: string;
  readonly sub: string;
  /** Id of the control plane that it is for. */
  readonly aud: string;
  readonly tenant: string;
  readonly iat: number;
  /** At most ten minutes after `iat`. */
  readonly exp: number;
  /** Unique, for the record. */
  readonly jti: string;
}

/** A token as it reads, before anything about it is believed. */
export interface ParsedToken {
  readonly claims: TokenClaims;
  /** Public key that it says it is signed by. */
  readonly key: Uint8Array;
  /** What the signature is over. */
  readonly signingInput: Uint8Array;
  readonly signature: Uint8Array;
}

const US = 1_000_000;

export async function signToken(claims: TokenClaims, signer: Signer): Promise<string> {
  const header = { alg: "EdDSA", kid: toHex(signer.publicKey), typ: "JWT" };
  const { iss, sub, aud, tenant, iat, exp, jti } = claims;
  const input = `${segment(header)}.${segment({ iss, sub, aud, tenant, iat, exp, jti })}`;
  return `${input}.${toBase64Url(await signer.sign(utf8(input)))}`;
}

const segment = (value: object): string => toBase64Url(utf8(JSON.stringify(value)));

/** Reads a token strictly. Never puts the token itself in what it says: it is a credential. */
export function parseToken(token: string): ParsedToken | Invalid {
  if (token.length > loginTokenCharsMax) {
    return invalid("E_ENCODING", `token: longer than ${loginTokenCharsMax} characters`);
  }
  const parts = token.split(".");
  const [head, body, signature] = parts;
  if (parts.length !== 3 || head === undefined || body === undefined || signature === undefined) {
    return invalid("E_ENCODING", "token: must be three parts with dots between");
  }
  const header = object(head);
  if (header === null) return invalid("E_ENCODING", "token: header is not base64url of JSON");
  const claims = object(body);
  if (claims === null) return invalid("E_ENCODING", "token: claims are not base64url of JSON");

  // One algorithm: a token has no say in how it is verified.
  if (header.alg !== "EdDSA") return invalid("E_FIELD", "token.alg: must be EdDSA");
  if ("crit" in header) return invalid("E_FIELD", "token.crit: no extension is understood");
  const { kid } = header;
  if (typeof kid !== "string" || !/^[0-9a-f]{64}$/.test(kid)) {
    return invalid("E_FIELD", "token.kid: must be the public key, 64 lower-case hex digits");
  }
  for (const name of ["iss", "sub", "aud", "tenant", "jti"]) {
    if (typeof claims[name] !== "string" || claims[name] === "") {
      return invalid("E_FIELD", `token.${name}: must be a text`);
    }
  }
  for (const name of ["iat", "exp"]) {
    if (!Number.isSafeInteger(claims[name]) || (claims[name] as number) < 0) {
      return invalid("E_FIELD", `token.${name}: must be whole seconds since the epoch`);
    }
  }
  const value = decoded(signature);
  if (value?.length !== 64) return invalid("E_ENCODING", "token: signature must be 64 bytes");
  return {
    claims: claims as unknown as TokenClaims,
    key: fromHex(kid),
    signingInput: utf8(`${head}.${body}`),
    signature: value,
  };
}

/** Whether its times, its audience and its signature hold. Whose key it is, the caller has looked up. */
export function checkToken(
  crypto: Crypto,
  { claims, key, signingInput, signature }: ParsedToken,
  audience: string,
  nowUs: number,
): Invalid | null {
  const { iat, exp, aud } = claims;
  if (aud !== audience) {
    return invalid("E_FIELD", `token.aud: is for another control plane; this one is ${audience}`);
  }
  if (exp <= iat || (exp - iat) * US > loginTokenTtlUs) {
    return invalid("E_FIELD", `token.exp: at most ${loginTokenTtlUs / US} seconds after iat`);
  }
  if (iat * US > nowUs + clockSkewMaxUs) return invalid("E_NOT_YET_VALID", "token.iat: is to come");
  if (exp * US <= nowUs) return invalid("E_EXPIRED", "token.exp: has passed; sign a new token");
  if (crypto.keyProblem(key) !== null || !crypto.verify(key, signingInput, signature)) {
    return invalid("E_SIGNATURE", "token: signature does not verify");
  }
  return null;
}

function decoded(part: string): Uint8Array | null {
  try {
    return fromBase64Url(part);
  } catch {
    return null;
  }
}

function object(part: string): Record<string, unknown> | null {
  const bytes = decoded(part);
  if (bytes === null) return null;
  try {
    const value: unknown = JSON.parse(text(bytes));
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
