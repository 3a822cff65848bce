import { continuationsMax, headerListBytesMax } from "../domain/limits.ts";
import { CODE, type Fault, FLAG, FRAME, fault } from "./frames.ts";

/** Bytes of a header block as it comes: room for lists that are coded badly. */
const BLOCK_BYTES_MAX = 2 * headerListBytesMax;
/** Before a block with priority: a stream and a weight, which say nothing any more. */
const PRIORITY_BYTES = 5;

/** Who takes header blocks. */
export interface BlockTaker {
  /** One whole block: `bytes` from `start` to `end`, and the flags of its first frame. */
  headerBlock(
    flags: number,
    stream: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): Fault | null;
}

/** Puts header blocks together from HEADERS and CONTINUATION, which nothing may come between. */
export class HeaderBlocks {
  readonly #taker: BlockTaker;
  #parts: Buffer[] = NONE;
  #bytes = 0;
  #flags = 0;
  /** The stream whose block is not whole; 0: none is. */
  #stream = 0;

  constructor(taker: BlockTaker) {
    this.#taker = taker;
  }

  /** Whether a frame breaks into a block that is not whole. */
  interrupted(type: number, stream: number): boolean {
    return this.#stream !== 0 && (type !== FRAME.CONTINUATION || stream !== this.#stream);
  }

  headers(flags: number, stream: number, bytes: Buffer, start: number, end: number): Fault | null {
    if (stream === 0) return fault(CODE.PROTOCOL_ERROR, "HEADERS of no stream");
    let from = start;
    let to = end;
    if ((flags & FLAG.PADDED) !== 0) to -= bytes[from++] ?? 0;
    if ((flags & FLAG.PRIORITY) !== 0) from += PRIORITY_BYTES;
    if (from > end) return fault(CODE.FRAME_SIZE_ERROR, "HEADERS are torn");
    if (from > to) return fault(CODE.PROTOCOL_ERROR, "HEADERS are all padding");
    if ((flags & FLAG.END_HEADERS) !== 0) {
      return this.#taker.headerBlock(flags, stream, bytes, from, to);
    }
    this.#stream = stream;
    this.#flags = flags;
    this.#parts = [Buffer.from(bytes.subarray(from, to))];
    this.#bytes = to - from;
    return null;
  }

  continuation(flags: number, bytes: Buffer, start: number, end: number): Fault | null {
    if (this.#stream === 0) return fault(CODE.PROTOCOL_ERROR, "CONTINUATION of nothing");
    this.#parts.push(Buffer.from(bytes.subarray(start, end)));
    this.#bytes += end - start;
    if (this.#parts.length > continuationsMax || this.#bytes > BLOCK_BYTES_MAX) {
      return fault(CODE.ENHANCE_YOUR_CALM, "a header block is too long");
    }
    if ((flags & FLAG.END_HEADERS) === 0) return null;
    const whole = Buffer.concat(this.#parts, this.#bytes);
    const stream = this.#stream;
    this.#stream = 0;
    this.#parts = NONE;
    return this.#taker.headerBlock(this.#flags, stream, whole, 0, whole.length);
  }
}

const NONE: Buffer[] = [];
