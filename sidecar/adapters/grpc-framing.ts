import type { Reason } from "../../src/domain/reason.ts";

const HEAD = 5;

/**
 * Follows gRPC's message boundaries through chunks that know nothing of them, without copying or
 * keeping any of it.
 *
 * A message is one flag byte (0: plain, 1: compressed), four bytes of length in network order, and
 * that many bytes. The declared length is judged before the message comes.
 */
export class MessageMeter {
  /** Whole messages that passed. */
  messages = 0;
  readonly #maxMessageBytes: number;
  readonly #mayCompress: boolean;
  #headFill = 0;
  #length = 0;
  #left = 0;

  /** @param mayCompress whether `grpc-encoding` announced a compression. */
  constructor(maxMessageBytes: number, mayCompress: boolean) {
    this.#maxMessageBytes = maxMessageBytes;
    this.#mayCompress = mayCompress;
  }

  /** Between two messages, or before the first. */
  get atBoundary(): boolean {
    return this.#headFill === 0 && this.#left === 0;
  }

  /** Bytes of a chunk that belong to the message under way: all of them, unless it ends in the chunk. */
  rest(chunk: Uint8Array): number {
    if (this.#headFill === 0) return Math.min(this.#left, chunk.length);
    const head = HEAD - this.#headFill;
    let length = this.#length;
    for (let i = 0; i < Math.min(head, chunk.length); i++) {
      length = length * 256 + (chunk[i] as number);
    }
    return chunk.length < head ? chunk.length : Math.min(head + length, chunk.length);
  }

  /** @returns what is wrong with the chunk, which then must not pass; null: nothing. */
  push(chunk: Uint8Array): Reason | null {
    let at = 0;
    while (at < chunk.length) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, chunk.length - at);
        at += taken;
        this.#left -= taken;
        if (this.#left === 0) this.messages++;
        continue;
      }
      const byte = chunk[at++] as number;
      if (this.#headFill === 0) {
        if (byte > 1 || (byte === 1 && !this.#mayCompress)) return "FRAMING_INVALID";
        this.#length = 0;
      } else {
        this.#length = this.#length * 256 + byte;
      }
      if (++this.#headFill < HEAD) continue;
      this.#headFill = 0;
      if (this.#length > this.#maxMessageBytes) return "MESSAGE_TOO_LARGE";
      if (this.#length === 0) this.messages++;
      else this.#left = this.#length;
    }
    return null;
  }
}
