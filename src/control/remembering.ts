import { equal, toHex } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";
import { Recent } from "../domain/recent.ts";

/**
 * The same cryptography, which remembers its last `max` verdicts on signatures: for what is verified
 * again and again, such as the grant behind every renewal. Only the very same key, message and signature
 * are given the same verdict.
 */
export function remembering(crypto: Crypto, max: number): Crypto {
  const seen = new Recent<{ key: Uint8Array; message: Uint8Array; verdict: boolean }>(max);
  return {
    ...crypto,
    verify(key, message, signature) {
      const judge = (): boolean => crypto.verify(key, message, signature);
      const known = seen.get(toHex(signature), () => ({ key, message, verdict: judge() }));
      const isSame = equal(known.key, key) && equal(known.message, message);
      return isSame ? known.verdict : judge();
    },
  };
}
