/** Before each message (gRPC over HTTP/2): one byte, 0 for uncompressed, and four of length. */
const PREFIX_BYTES = 5;

/** A message as a stream carries it. */
export function framed(message: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  out[0] = 0;
  out.writeUInt32BE(message.length, 1);
  out.set(message, PREFIX_BYTES);
  return out;
}

/** Several messages in a row, each put together of what lies in several places. */
export function framedInARow(messages: readonly (readonly Uint8Array[])[]): Buffer {
  const lengths = messages.map((parts) => parts.reduce((sum, { length }) => sum + length, 0));
  const out = Buffer.allocUnsafe(lengths.reduce((sum, n) => sum + PREFIX_BYTES + n, 0));
  let at = 0;
  for (const [i, parts] of messages.entries()) {
    out[at] = 0;
    out.writeUInt32BE(lengths[i] as number, at + 1);
    at += PREFIX_BYTES;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
  }
  return out;
}

/** What a stream may not carry. */
export type FrameFlaw = "COMPRESSED" | "TOO_LONG";

/** Takes each message that is found: a view of the chunk that it came in, where it came in one. */
export interface MessageTaker {
  message(bytes: Uint8Array): void;
}

/** Finds messages in chunks that were cut anywhere. It holds less than one message. */
export class MessageReader {
  readonly #bytesMax: number;
  readonly #taker: MessageTaker;
  #parts: Buffer[] = NONE;
  #held = 0;
  /** Bytes that the next message needs, as far as they are known. */
  #wanted = PREFIX_BYTES;

  constructor(bytesMax: number, taker: MessageTaker) {
    this.#bytesMax = bytesMax;
    this.#taker = taker;
  }

  /** Bytes of a message that is not whole. */
  get held(): number {
    return this.#held;
  }

  /** @returns why the stream cannot go on; null: it can. */
  push(chunk: Buffer): FrameFlaw | null {
    const bytes = this.#whole(chunk);
    if (bytes === null) return null;
    this.#wanted = PREFIX_BYTES;
    let at = 0;
    while (bytes.length - at >= PREFIX_BYTES) {
      if (bytes[at] !== 0) return "COMPRESSED";
      const length = bytes.readUInt32BE(at + 1);
      if (length > this.#bytesMax) return "TOO_LONG";
      const start = at + PREFIX_BYTES;
      if (bytes.length < start + length) {
        this.#wanted = PREFIX_BYTES + length;
        break;
      }
      this.#taker.message(bytes.subarray(start, start + length));
      at = start + length;
    }
    this.#held = bytes.length - at;
    // What waits must not hold the whole chunk in memory.
    if (this.#held > 0) this.#parts = [at === 0 ? bytes : Buffer.from(bytes.subarray(at))];
    return null;
  }

  /** What is to be read now, without copying where nothing was left over; null: less than is wanted. */
  #whole(chunk: Buffer): Buffer | null {
    if (this.#held > 0) this.#parts.push(chunk);
    this.#held += chunk.length;
    // A long message that comes in many pieces is put together once.
    if (this.#held < this.#wanted) {
      if (this.#parts === NONE) this.#parts = [chunk];
      return null;
    }
    const whole = this.#parts === NONE ? chunk : Buffer.concat(this.#parts, this.#held);
    this.#parts = NONE;
    return whole;
  }
}

const NONE: Buffer[] = [];
