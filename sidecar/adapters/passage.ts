import { createHash, type Hash } from "node:crypto";
import { native } from "../../src/native/crypto.ts";

/** Digests and counts a body as it passes. */
export class BodyMeter {
  bytes = 0;
  /** Most bodies are one chunk: it is kept until a second one comes, and hashed in one call. */
  #first: Uint8Array | null = null;
  #hash: Hash | null = null;

  push(chunk: Uint8Array): void {
    this.bytes += chunk.length;
    if (this.#hash !== null) {
      this.#hash.update(chunk);
    } else if (this.#first === null) {
      this.#first = chunk;
    } else {
      this.#hash = createHash("sha256").update(this.#first).update(chunk);
      this.#first = null;
    }
  }

  /** SHA-256 of everything so far. 32 bytes. To be called once, at the end. */
  sha256(): Uint8Array {
    if (this.#hash !== null) return this.#hash.digest();
    return this.#first === null ? EMPTY : native.sha256(this.#first);
  }
}

const EMPTY = native.sha256(new Uint8Array(0));
