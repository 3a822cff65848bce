import { streamWindowBytes } from "../../src/domain/limits.ts";
import { ByteQueue } from "../../src/h2/byte-queue.ts";
import type { RawHeaders } from "../../src/h2/fields.ts";
import type { H2Stream, StreamListener } from "../../src/h2/stream.ts";
import { FRAMING_TRAILER, frames, passedOn, without } from "./http-fields.ts";
import type { Malformed, RawFields } from "./http-head.ts";
import { GONE, type Gone } from "./http-wire.ts";

/** One HTTP/2 stream of whoever is on its other side: a body read as it is asked for, one written as it leaves. */
export abstract class Http2Side implements StreamListener {
  /** null: it has not begun. */
  protected stream: H2Stream | null = null;
  protected gone = false;
  readonly #waiting = new ByteQueue();
  #trailers: RawFields = [];
  #whole = false;
  #wake: (() => void) | null = null;
  #onGone: (() => void) | null = null;
  /** Written, and not left yet. */
  #unsent = 0;
  #room: PromiseWithResolvers<void> | null = null;
  readonly #flushed: (() => void)[] = [];

  /** The next piece of the other side's body; null: it is whole. */
  async read(): Promise<Buffer | null | Gone | Malformed> {
    for (;;) {
      const piece = this.#waiting.first;
      if (piece !== null) {
        this.#waiting.advance(piece.length);
        this.stream?.consumed(piece.length);
        return piece;
      }
      // Who has said everything may well be gone.
      if (this.#whole) return frames(this.#trailers) ? FRAMING_TRAILER : null;
      if (this.gone) return GONE;
      await this.told();
    }
  }

  get trailers(): RawFields {
    return this.#trailers;
  }

  /** @returns null: go on; else wait until the other side has taken what is on its way. */
  write(piece: Uint8Array): Promise<void> | null {
    this.stream?.write(piece as Buffer);
    this.#unsent += piece.length;
    if (this.#unsent < streamWindowBytes || this.gone) return null;
    this.#room ??= Promise.withResolvers();
    return this.#room.promise;
  }

  /** Resolves once what was written has left, or never will. */
  async flushed(): Promise<void> {
    if (this.#unsent > 0 && !this.gone) {
      await new Promise<void>((resolve) => this.#flushed.push(resolve));
    }
  }

  onGone(listener: (() => void) | null): void {
    this.#onGone = listener;
    if (this.gone) listener?.();
  }

  /** Resolves with the next thing that the stream tells. */
  protected async told(): Promise<void> {
    await new Promise<void>((wake) => {
      this.#wake = wake;
    });
    this.#wake = null;
  }

  protected wake(): void {
    this.#wake?.();
  }

  // What the stream tells

  head(_fields: RawHeaders, last: boolean): void {
    if (last) this.#whole = true;
    this.wake();
  }

  informational(_fields: RawHeaders): void {}

  finished(): void {}

  data(chunk: Buffer): void {
    this.#waiting.push(chunk);
    this.wake();
  }

  ended(trailers: RawHeaders | null): void {
    this.#trailers = trailers ?? [];
    this.#whole = true;
    this.wake();
  }

  reset(): void {
    this.gone = true;
    this.wake();
    this.#room?.resolve();
    for (const resolve of this.#flushed.splice(0)) resolve();
    this.#onGone?.();
  }

  sent(bytes: number): void {
    this.#unsent -= bytes;
    if (this.#unsent === 0) for (const resolve of this.#flushed.splice(0)) resolve();
    if (this.#unsent >= streamWindowBytes) return;
    this.#room?.resolve();
    this.#room = null;
  }
}

/** Fields as HTTP/2 has them: in small letters, and none of a connection. */
export function spoken(fields: RawFields): string[] {
  const kept = without(passedOn(fields), (name) => name === "transfer-encoding");
  return kept.map((word, i) => (i % 2 === 0 ? word.toLowerCase() : word));
}
