import { CodecError } from "../domain/canonical.ts";

/** From here on a byte says that another one follows. */
const BYTE = 0x80;
/** What a bit of the eighth byte is worth, of which there is no ninth. */
const UNIT_MAX = BYTE ** 7;

/**
 * Ascending seqs, from 1, as varints: the first, and of each other how much it is above the one before.
 * Close to one another, as they are in a ledger, they take a byte or two.
 */
export function encodeSeqs(seqs: readonly number[]): Uint8Array {
  const out: number[] = [];
  let last = 0;
  for (const seq of seqs) {
    let rest = seq - last;
    if (rest <= 0) throw new RangeError("seqs must ascend");
    for (; rest >= BYTE; rest = Math.floor(rest / BYTE)) out.push((rest % BYTE) + BYTE);
    out.push(rest);
    last = seq;
  }
  return new Uint8Array(out);
}

/** @throws CodecError when the bytes are not what `encodeSeqs` writes. */
export function decodeSeqs(bytes: Uint8Array): number[] {
  const seqs: number[] = [];
  let last = 0;
  let step = 0;
  let unit = 1;
  for (const byte of bytes) {
    step += (byte % BYTE) * unit;
    if (unit > UNIT_MAX || last + step > Number.MAX_SAFE_INTEGER) {
      throw flaw("E_ENC_RANGE", "above 2^53 − 1");
    }
    unit *= BYTE;
    if (byte >= BYTE) continue;
    // A zero at the end says nothing, and a step of zero goes nowhere.
    if (byte === 0) throw flaw("E_ENC_VARINT", "does not ascend, or is longer than it need be");
    last += step;
    seqs.push(last);
    step = 0;
    unit = 1;
  }
  if (unit !== 1) throw flaw("E_ENC_TRUNCATED", "ends inside a number");
  return seqs;
}

const flaw = (code: CodecError["code"], detail: string): CodecError =>
  new CodecError(code, "seqs", detail);
