import { compare, equal, toHex, utf8 } from "./bytes.ts";
import { CodecError } from "./canonical.ts";
import type { Crypto, Signer } from "./crypto.ts";
import { type Invalid, invalid } from "./invalid.ts";
import { signaturesMax } from "./limits.ts";
import { pae, paeHead, SignedBytes, type SignedKind, type SignedName } from "./signed.ts";

/**
 * How other artifacts cite a signed body: `SHA256("dragons/v1/<name>-ref\n" ‖ PAE(name, body))`.
 * 32 bytes. The signatures are no part of it.
 */
export const refOf = (crypto: Crypto, name: SignedName, body: Uint8Array): Uint8Array =>
  crypto.sha256(utf8(`dragons/v1/${name}-ref\n`), paeHead(name, body.length), body);

/** Encodes `value` once and has every signer sign those bytes. Signatures are sorted by key. */
export async function signBody<T>(
  kind: SignedKind<T>,
  value: T,
  signers: readonly Signer[],
): Promise<SignedBytes> {
  // Memory of its own: artifacts are kept for long, and would keep the slab that they were written to.
  const body = kind.body.encode(value).slice();
  const message = pae(kind.name, body);
  const signatures = await Promise.all(
    signers.map(async (s) => ({ key: s.publicKey, value: await s.sign(message) })),
  );
  return { body, signatures: signatures.sort((a, b) => compare(a.key, b.key)) };
}

/** A body in the strict profile, and the keys that signed it. Whether they may is not said yet. */
export interface Opened<T> {
  readonly body: T;
  /** Distinct, each a key whose signature verified under the strict rule. At least one. */
  readonly signers: Uint8Array[];
}

/**
 * Decodes strictly and verifies every signature that is there. One that does not verify spoils the
 * whole, and so does a key that signs twice: nothing may travel along unchecked.
 */
export function openSigned<T>(
  crypto: Crypto,
  kind: SignedKind<T>,
  signed: SignedBytes,
): Opened<T> | Invalid {
  const count = signed.signatures.length;
  if (count === 0) return invalid("E_SIGNATURE", `${kind.name}: not signed`);
  if (count > signaturesMax) {
    return invalid("E_SIGNATURE", `${kind.name}: ${count} signatures, at most ${signaturesMax}`);
  }
  let body: T;
  try {
    body = kind.body.decode(signed.body);
  } catch (error) {
    if (error instanceof CodecError) return invalid("E_ENCODING", error.message);
    throw error;
  }
  const message = pae(kind.name, signed.body);
  for (const [i, { key, value }] of signed.signatures.entries()) {
    if (signed.signatures.some((other, j) => j < i && equal(other.key, key))) {
      return invalid("E_SIGNATURE", `${kind.name}: ${toHex(key)} signs twice`);
    }
    const problem = crypto.keyProblem(key);
    if (problem !== null) return invalid(problem, `${kind.name}: key ${toHex(key)}`);
    if (!crypto.verify(key, message, value)) {
      return invalid("E_SIGNATURE", `${kind.name}: signature by ${toHex(key)} does not verify`);
    }
  }
  return { body, signers: signed.signatures.map((s) => s.key) };
}

export const encodeSigned = (signed: SignedBytes): Uint8Array => SignedBytes.encode(signed);

/** Strict about the envelope; the body inside is judged by `openSigned`. */
export function decodeSigned(bytes: Uint8Array): SignedBytes | Invalid {
  try {
    return SignedBytes.decode(bytes);
  } catch (error) {
    if (error instanceof CodecError) return invalid("E_ENCODING", error.message);
    throw error;
  }
}
