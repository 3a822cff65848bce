import { CODE, type Fault, fault, HEAD_BYTES, PAYLOAD_BYTES, PREFACE, readU31 } from "./frames.ts";

/** Who takes frames. */
export interface FrameTaker {
  /** One whole frame; its payload is `bytes` from `start` to `end`, and stays as it is. */
  frame(
    type: number,
    flags: number,
    stream: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): Fault | null;
}

/** Finds frames in chunks that were cut anywhere. It holds less than one frame. */
export class FrameReader {
  readonly #taker: FrameTaker;
  #prefaceLeft: number;
  #rest: Buffer[] = NONE;
  #restBytes = 0;
  /** Bytes that the frame in `#rest` needs, as far as they are known. */
  #wanted = HEAD_BYTES;

  /** @param preface whether the peer is a client, which says who it is first. */
  constructor(preface: boolean, taker: FrameTaker) {
    this.#prefaceLeft = preface ? PREFACE.length : 0;
    this.#taker = taker;
  }

  /** @returns why the connection cannot go on; null: it can. */
  push(chunk: Buffer): Fault | null {
    let at = 0;
    if (this.#prefaceLeft > 0) {
      at = Math.min(this.#prefaceLeft, chunk.length);
      const from = PREFACE.length - this.#prefaceLeft;
      if (PREFACE.compare(chunk, 0, at, from, from + at) !== 0) {
        return fault(CODE.PROTOCOL_ERROR, "no HTTP/2 client preface");
      }
      this.#prefaceLeft -= at;
    }
    return this.#frames(this.#whole(chunk, at));
  }

  /** What is to be read now, without copying where nothing was left over. */
  #whole(chunk: Buffer, at: number): Buffer {
    const fresh = at === 0 ? chunk : chunk.subarray(at);
    if (this.#restBytes === 0) return fresh;
    this.#rest.push(fresh);
    this.#restBytes += fresh.length;
    // A long frame that comes in many pieces is put together once.
    if (this.#restBytes < this.#wanted) return NOTHING;
    const whole = Buffer.concat(this.#rest, this.#restBytes);
    this.#rest = NONE;
    this.#restBytes = 0;
    return whole;
  }

  #frames(bytes: Buffer): Fault | null {
    let at = 0;
    let wanted = HEAD_BYTES;
    while (bytes.length - at >= HEAD_BYTES) {
      const length =
        ((bytes[at] as number) << 16) |
        ((bytes[at + 1] as number) << 8) |
        (bytes[at + 2] as number);
      if (length > PAYLOAD_BYTES) {
        return fault(CODE.FRAME_SIZE_ERROR, `a frame of ${length} bytes`);
      }
      const start = at + HEAD_BYTES;
      const end = start + length;
      if (end > bytes.length) {
        wanted = HEAD_BYTES + length;
        break;
      }
      const type = bytes[at + 3] as number;
      const flags = bytes[at + 4] as number;
      const wrong = this.#taker.frame(type, flags, readU31(bytes, at + 5), bytes, start, end);
      if (wrong !== null) return wrong;
      at = end;
    }
    if (at < bytes.length) {
      const rest = bytes.subarray(at);
      // What waits must not hold the whole chunk in memory.
      this.#rest = [at === 0 ? rest : Buffer.from(rest)];
      this.#restBytes = rest.length;
      this.#wanted = wanted;
    }
    return null;
  }
}

const NOTHING = Buffer.alloc(0);
const NONE: Buffer[] = [];
