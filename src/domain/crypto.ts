/**
 * All the cryptography that the domain knows. Two implementations, proven identical by tests:
 * `noble` (portable: browsers, reference) and `native` (node:crypto, the hot path).
 *
 * Ed25519 by one strict rule for everybody: the key canonical, of prime order and not the identity;
 * R not the identity; S < L; the cofactorless equation.
 */
export interface Crypto {
  /** SHA-256 over the parts in order. 32 bytes. */
  sha256(...parts: Uint8Array[]): Uint8Array;
  /** Public key of a 32-byte seed. 32 bytes. */
  publicKey(seed: Uint8Array): Uint8Array;
  /** 64 bytes. */
  sign(seed: Uint8Array, message: Uint8Array): Uint8Array;
  /** Never throws on bad input: what cannot be verified is false. */
  verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean;
  /**
   * What `verify` says, found out beside what the caller goes on to do; null: there is nowhere to.
   * None of the bytes may change until it is told.
   */
  readonly verifyBeside:
    | ((publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => Promise<boolean>)
    | null;
  /** What is wrong with a public key under the strict rule; null: nothing. */
  keyProblem(publicKey: Uint8Array): "E_KEY_NONCANONICAL" | "E_KEY_WEAK" | null;
}

/** A private key wherever it lives: a file, a KMS, an external command. Gets PAE bytes. */
export interface Signer {
  readonly publicKey: Uint8Array;
  sign(message: Uint8Array): Promise<Uint8Array>;
}
