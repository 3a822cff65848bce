import { streamWindowBytes } from "../../src/domain/limits.ts";
import { ByteQueue } from "../h2/byte-queue.ts";
import type { RawHeaders } from "../h2/fields.ts";
import { CODE } from "../h2/frames.ts";
import type { H2Stream, StreamListener } from "../h2/stream.ts";
import type { Denial } from "./exchange.ts";
import type { HttpClientSide } from "./http-client.ts";
import { FRAMING_TRAILER, type Framing, frames, passedOn, without } from "./http-fields.ts";
import type { Malformed, RawFields, ResponseHead } from "./http-head.ts";
import { GONE, type Gone } from "./http-wire.ts";
import { problem } from "./problem.ts";

/** One HTTP/2 stream on which an agent asks for something that is not gRPC. */
export class Http2Client implements HttpClientSide, StreamListener {
  readonly framing: Framing;
  readonly #stream: H2Stream;
  readonly #bodyless: boolean;
  readonly #waiting = new ByteQueue();
  #trailers: RawFields = [];
  #whole: boolean;
  #gone = false;
  #responded = false;
  #wake: (() => void) | null = null;
  #onGone: (() => void) | null = null;
  /** Written, and not left yet. */
  #unsent = 0;
  #room: PromiseWithResolvers<void> | null = null;
  readonly #flushed: (() => void)[] = [];

  /**
   * @param framing of the request's body, towards the upstream.
   * @param last no body follows the head.
   */
  constructor(stream: H2Stream, method: string, framing: Framing, last: boolean) {
    this.#stream = stream;
    this.#bodyless = method === "HEAD";
    this.framing = framing;
    this.#whole = last;
    stream.listener = this;
  }

  async read(): Promise<Buffer | null | Gone | Malformed> {
    for (;;) {
      const piece = this.#waiting.first;
      if (piece !== null) {
        this.#waiting.advance(piece.length);
        this.#stream.consumed(piece.length);
        return piece;
      }
      if (this.#gone) return GONE;
      if (this.#whole) return frames(this.#trailers) ? FRAMING_TRAILER : null;
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
      this.#wake = null;
    }
  }

  get trailers(): RawFields {
    return this.#trailers;
  }

  get responded(): boolean {
    return this.#responded;
  }

  inform({ status, fields }: ResponseHead): void {
    if (!this.#responded) this.#stream.inform([":status", String(status), ...spoken(fields)]);
  }

  respond({ status, fields }: ResponseHead, framing: Framing): void {
    this.#responded = true;
    const last = framing.kind === "none";
    this.#stream.sendHead([":status", String(status), ...spoken(fields)], last);
  }

  write(piece: Buffer): Promise<void> | null {
    this.#stream.write(piece);
    this.#unsent += piece.length;
    if (this.#unsent < streamWindowBytes || this.#gone) return null;
    this.#room ??= Promise.withResolvers();
    return this.#room.promise;
  }

  async flushed(): Promise<void> {
    if (this.#unsent > 0 && !this.#gone) {
      await new Promise<void>((resolve) => this.#flushed.push(resolve));
    }
  }

  end(trailers: RawFields): void {
    const fields = spoken(trailers);
    this.#stream.end(fields.length === 0 ? null : fields);
    this.#stream.dismiss();
  }

  abort(): void {
    this.#stream.reset(CODE.INTERNAL_ERROR);
  }

  deny(denial: Denial): void {
    this.#responded = true;
    const { status, fields, body } = problem(denial);
    this.#stream.sendHead([":status", String(status), ...fields], this.#bodyless);
    if (!this.#bodyless) {
      this.#stream.write(body);
      this.#stream.end();
    }
    this.#stream.dismiss();
  }

  onGone(listener: (() => void) | null): void {
    this.#onGone = listener;
    if (this.#gone) listener?.();
  }

  switchProtocols(): null {
    return null;
  }

  // What the stream tells

  head(): void {}
  informational(): void {}
  finished(): void {}

  data(chunk: Buffer): void {
    this.#waiting.push(chunk);
    this.#wake?.();
  }

  ended(trailers: RawHeaders | null): void {
    this.#trailers = trailers ?? [];
    this.#whole = true;
    this.#wake?.();
  }

  reset(): void {
    this.#gone = true;
    this.#wake?.();
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
function spoken(fields: RawFields): string[] {
  const kept = without(passedOn(fields), (name) => name === "transfer-encoding");
  return kept.map((word, i) => (i % 2 === 0 ? word.toLowerCase() : word));
}
