import { equal } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";
import { pae, type SignedBytes, type SignedKind } from "../domain/signed.ts";

/** Whether a signature holds, found out on another thread. What it is given must not change meanwhile. */
export const holdsBeside = (
  crypto: Crypto,
  ...asked: Parameters<Crypto["verify"]>
): Promise<boolean> => crypto.verifyBeside?.(...asked) ?? Promise.resolve(crypto.verify(...asked));

/**
 * The same cryptography, which knows by now whether this artifact's one signature holds: it was asked on
 * another thread, while this one went on. All else it finds out as ever.
 *
 * What it is given must not change meanwhile. Of a key that nobody has recorded nothing is asked: looking
 * at a new one takes longer than a signature, and is done here.
 */
export async function askedBeside<T>(
  crypto: Crypto,
  kind: SignedKind<T>,
  { body, signatures }: SignedBytes,
  by: Uint8Array,
): Promise<Crypto> {
  const [signature] = signatures;
  if (crypto.verifyBeside === null || signature === undefined || signatures.length > 1) {
    return crypto;
  }
  const { key, value } = signature;
  if (!equal(key, by)) return crypto;
  const message = pae(kind.name, body);
  const holds = await crypto.verifyBeside(key, message, value);
  return {
    ...crypto,
    verify: (k, m, v) =>
      equal(k, key) && equal(v, value) && equal(m, message) ? holds : crypto.verify(k, m, v),
  };
}
