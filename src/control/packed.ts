import { SignedBytes, type SignedKind, type Verified } from "../domain/signed.ts";

/**
 * An artifact as it is kept of each of ten thousand organisms: in one piece of memory, where its fields
 * would be twenty, and read anew whenever it is asked for. What is asked for at every beat stands beside it.
 */
export class Packed<T> implements Verified<T> {
  readonly ref: Uint8Array;
  readonly kind: SignedKind<T>;
  /** SignedBytes. */
  readonly bytes: Uint8Array;

  constructor(kind: SignedKind<T>, { signed, ref }: Verified<T>) {
    this.kind = kind;
    this.ref = ref;
    // Memory of its own: what is encoded lies in a slab with others.
    this.bytes = SignedBytes.encode(signed).slice();
  }

  get signed(): SignedBytes {
    return SignedBytes.view(this.bytes);
  }

  get body(): T {
    return this.kind.body.view(this.signed.body);
  }
}
