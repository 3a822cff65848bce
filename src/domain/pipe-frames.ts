import { concat } from "./bytes.ts";
import { pipeFrameBytesMax } from "./limits.ts";

/**
 * How `dragons mcp` and the sidecar speak of a server that stands on pipes: the wrapper sends what the
 * agent and the server say, each as it comes, and is sent what each of them is to hear. It decides
 * nothing. On the wire a frame is its side, its length in four bytes, and its bytes; one without bytes
 * says that its side has ended, or is to be ended.
 */
const SIDES = ["AGENT", "SERVER"] as const;
export type Side = (typeof SIDES)[number];

/** Where the sidecar takes such connections, by `GET /NAME` and this upgrade. Nobody has such a host. */
export const PIPE_HOST = "mcp.dragons.invalid";
export const PIPE_PROTOCOL = "dragons-mcp-pipe";

export interface PipeFrame {
  readonly side: Side;
  /** None: the end. */
  readonly bytes: Uint8Array;
}

const HEAD = 5;

/** Bytes of one side as frames; none: its end. */
export function pipeFrames(side: Side, bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = 0;
  do {
    const piece = bytes.subarray(at, at + pipeFrameBytesMax);
    const head = new Uint8Array(HEAD);
    head[0] = SIDES.indexOf(side);
    new DataView(head.buffer).setUint32(1, piece.length);
    parts.push(head, piece);
    at += piece.length;
  } while (at < bytes.length);
  return concat(...parts);
}

/** Takes frames out of a stream that knows nothing of them. */
export class PipeFrameReader {
  #held: Uint8Array = new Uint8Array(0);

  /** @returns the frames that are whole; null: it is no such stream. */
  push(chunk: Uint8Array): PipeFrame[] | null {
    this.#held = this.#held.length === 0 ? chunk : concat(this.#held, chunk);
    const frames: PipeFrame[] = [];
    while (this.#held.length >= HEAD) {
      const side = SIDES[this.#held[0] as number];
      const view = new DataView(this.#held.buffer, this.#held.byteOffset, HEAD);
      const end = HEAD + view.getUint32(1);
      if (side === undefined || end > HEAD + pipeFrameBytesMax) return null;
      if (this.#held.length < end) break;
      frames.push({ side, bytes: this.#held.subarray(HEAD, end) });
      this.#held = this.#held.subarray(end);
    }
    return frames;
  }
}
