import { ReceiptHeader } from "../domain/receipt.ts";
import { SignedBytes } from "../domain/signed.ts";
import { once, ReceiptFrame, readFrames } from "./pack.ts";

/**
 * The pack with one bit of one byte turned over, for showing what a verifier makes of it.
 * @throws RangeError when `at` is not a byte of the pack.
 */
export function tamper(pack: Uint8Array, at: number): Uint8Array {
  const byte = pack[at];
  if (byte === undefined) throw new RangeError(`byte ${at} is not within 0 to ${pack.length - 1}`);
  const changed = pack.slice();
  changed[at] = byte ^ 1;
  return changed;
}

/**
 * Offset of a byte of receipt `seq` that can change without the receipt becoming unreadable: the
 * first of its payload hash. Its signature, and nothing before it, then tells that it was changed.
 * In a pack of several ledgers the first that shows such a receipt is meant.
 * @throws RangeError when the pack shows no such receipt; PackError when it is no pack.
 */
export async function locateReceiptByte(pack: Uint8Array, seq: number): Promise<number> {
  for await (const frames of readFrames(once(pack))) {
    for (const { kind, body, offset } of frames) {
      if (kind !== "RECEIPT") continue;
      const header = ReceiptHeader.decode(
        SignedBytes.decode(ReceiptFrame.decode(body).signed).body,
      );
      if (header.seq === seq) return offset + find(body, header.payloadHash);
    }
  }
  throw new RangeError(`the pack shows no receipt ${seq}`);
}

/** Where `part` stands in `whole`, which is known to hold it. */
function find(whole: Uint8Array, part: Uint8Array): number {
  let at = 0;
  while (!part.every((byte, i) => whole[at + i] === byte)) at++;
  return at;
}
