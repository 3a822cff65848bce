import { equal } from "../domain/bytes.ts";
import { CodecError } from "../domain/canonical.ts";
import type { Crypto } from "../domain/crypto.ts";
import { GenesisBody } from "../domain/genesis.ts";
import { pae, type Signature, SignedBytes } from "../domain/signed.ts";
import { type Frame, ReceiptFrame } from "./pack.ts";

/** A receipt taken apart, before anything in it is believed: views of its frame. */
export interface Parts {
  readonly signed: SignedBytes;
  /** PayloadRow; empty: none is kept. */
  readonly row: Uint8Array;
  /** Whether its one signature verifies, by the key that it names; null: it was not asked ahead. */
  readonly verifies: boolean | null;
}

/** A frame, and what could be made of it before those in front of it were judged. */
export interface Begun {
  readonly frame: Frame;
  /** Of a RECEIPT alone; CodecError: it is not in its one encoding. */
  readonly parts: Parts | CodecError | null;
}

/**
 * Reads one batch further than it gives, and has the signatures of that one checked meanwhile, where `crypto` can.
 * Nothing is judged here: in what order, by which key and whether it counts is the reader's to say.
 */
export async function* lookAhead(
  crypto: Crypto,
  batches: AsyncIterable<readonly Frame[]>,
): AsyncGenerator<readonly Begun[]> {
  const source = batches[Symbol.asyncIterator]();
  const beginning = new Beginning(crypto);
  let held: Promise<Begun[]> | null = null;
  try {
    for (;;) {
      const next = await settled(source.next());
      const due: Promise<Begun[]> | null = held;
      held =
        next.status === "fulfilled" && !next.value.done
          ? beginning.beginAll(next.value.value)
          : null;
      if (due !== null) yield await due;
      if (next.status === "rejected") throw next.reason;
      if (next.value.done) return;
    }
  } finally {
    await source.return?.();
  }
}

const settled = async <T>(promise: Promise<T>): Promise<PromiseSettledResult<T>> =>
  (await Promise.allSettled([promise]))[0];

/** Fewer signatures are checked before another thread has woken for them. */
const besideMin = 16;

class Beginning {
  readonly #crypto: Crypto;
  /** Of the section being read, by its own word: no other key is asked about before it is known to count. */
  #ledgerKey: Uint8Array | null = null;

  constructor(crypto: Crypto) {
    this.#crypto = crypto;
  }

  beginAll(batch: readonly Frame[]): Promise<Begun[]> {
    const receipts = batch.filter((frame) => frame.kind === "RECEIPT").length;
    return Promise.all(batch.map((frame) => this.#begin(frame, receipts >= besideMin)));
  }

  async #begin(frame: Frame, beside: boolean): Promise<Begun> {
    if (frame.kind === "GENESIS") this.#ledgerKey = ledgerKeyOf(frame.body);
    if (frame.kind !== "RECEIPT") return { frame, parts: null };
    const parts = partsOf(() => ReceiptFrame.view(frame.body));
    if (parts instanceof CodecError) return { frame, parts };
    if (!beside) return { frame, parts };
    // What cannot be told ahead is asked again when it is due, and fails there.
    const verifies = await this.#ask(parts).catch(() => null);
    return { frame, parts: { ...parts, verifies } };
  }

  async #ask({ signed: { body, signatures } }: Parts): Promise<boolean | null> {
    const { verifyBeside } = this.#crypto;
    const [signature] = signatures;
    if (verifyBeside === null || this.#ledgerKey === null) return null;
    if (signature === undefined || signatures.length > 1) return null;
    if (!equal(signature.key, this.#ledgerKey)) return null;
    return verifyBeside(signature.key, pae("receipt", body), signature.value);
  }
}

/** Of an envelope that carries a receipt and its row. */
export function partsOf(
  decode: () => { readonly signed: Uint8Array; readonly row: Uint8Array },
): Parts | CodecError {
  try {
    const { signed, row } = decode();
    return { signed: SignedBytes.view(signed), row, verifies: null };
  } catch (error) {
    if (error instanceof CodecError) return error;
    throw error;
  }
}

/** Whether the receipt's one signature is of its body: as it was found out ahead, or else now. */
export const verifies = (crypto: Crypto, { signed, verifies }: Parts, by: Signature): boolean =>
  verifies ?? crypto.verify(by.key, pae("receipt", signed.body), by.value);

/** null: it does not decode, which is told when it is due. */
function ledgerKeyOf(genesis: Uint8Array): Uint8Array | null {
  try {
    return GenesisBody.decode(SignedBytes.decode(genesis).body).ledgerKey;
  } catch (error) {
    if (error instanceof CodecError) return null;
    throw error;
  }
}
