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
  return new Asked(crypto, { key, message, value, holds });
}

interface Answer {
  readonly key: Uint8Array;
  readonly message: Uint8Array;
  readonly value: Uint8Array;
  readonly holds: boolean;
}

/** Made for each beat and each receipt of a fleet: it holds no closures. */
class Asked implements Crypto {
  readonly #crypto: Crypto;
  readonly #answer: Answer;

  constructor(crypto: Crypto, answer: Answer) {
    this.#crypto = crypto;
    this.#answer = answer;
  }

  verify(key: Uint8Array, message: Uint8Array, value: Uint8Array): boolean {
    const of = this.#answer;
    const isAsked = equal(key, of.key) && equal(value, of.value) && equal(message, of.message);
    return isAsked ? of.holds : this.#crypto.verify(key, message, value);
  }

  get verifyBeside(): Crypto["verifyBeside"] {
    return this.#crypto.verifyBeside;
  }

  sha256(...parts: Uint8Array[]): Uint8Array {
    return this.#crypto.sha256(...parts);
  }

  publicKey(seed: Uint8Array): Uint8Array {
    return this.#crypto.publicKey(seed);
  }

  sign(seed: Uint8Array, message: Uint8Array): Uint8Array {
    return this.#crypto.sign(seed, message);
  }

  keyProblem(publicKey: Uint8Array): ReturnType<Crypto["keyProblem"]> {
    return this.#crypto.keyProblem(publicKey);
  }
}
