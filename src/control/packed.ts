import { concat } from "../domain/bytes.ts";
import { SignedBytes, type SignedKind, type Verified } from "../domain/signed.ts";

const REF_BYTES = 32;

/**
 * An artifact as it is kept of each of ten thousand organisms: in one piece of memory, where its fields
 * would be twenty, and read anew whenever it is asked for. What is asked for at every beat stands beside it.
 */
export class Packed<T> implements Verified<T> {
  readonly kind: SignedKind<T>;
  /** Its ref, and then SignedBytes: two pieces would be two objects more, each of a quarter of a kilobyte. */
  readonly #bytes: Uint8Array;

  constructor(kind: SignedKind<T>, { signed, ref }: Verified<T>) {
    this.kind = kind;
    // Memory of its own: what is encoded lies in a slab with others.
    this.#bytes = concat(ref, SignedBytes.encode(signed));
  }

  get ref(): Uint8Array {
    return this.#bytes.subarray(0, REF_BYTES);
  }

  get signed(): SignedBytes {
    return SignedBytes.view(this.#bytes.subarray(REF_BYTES));
  }

  get body(): T {
    return this.kind.body.view(this.signed.body);
  }
}
