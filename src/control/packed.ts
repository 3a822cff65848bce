import { concat } from "../domain/bytes.ts";
import { SignedBytes, type SignedKind, type Verified } from "../domain/signed.ts";

const REF_BYTES = 32;

/**
 * An artifact as it is kept of each of ten thousand organisms: in one piece of memory, where its fields
 * would be twenty, and read anew whenever it is asked for. What is asked of a lease at every beat stands beside
 * it (`LeaseTerms`). What is got of it is a view: whoever keeps that keeps all of it.
 */
export class Packed<T> implements Verified<T> {
  readonly kind: SignedKind<T>;
  /** Its ref, and then SignedBytes: a ref of its own would take a quarter of a kilobyte more. */
  readonly bytes: Uint8Array;

  constructor(kind: SignedKind<T>, { signed, ref }: Verified<T>) {
    this.kind = kind;
    // Memory of its own: what is encoded lies in a slab with others.
    this.bytes = concat(ref, SignedBytes.encode(signed));
  }

  get ref(): Uint8Array {
    return this.bytes.subarray(0, REF_BYTES);
  }

  get signed(): SignedBytes {
    return SignedBytes.view(this.bytes.subarray(REF_BYTES));
  }

  get body(): T {
    return this.kind.body.view(this.signed.body);
  }
}
