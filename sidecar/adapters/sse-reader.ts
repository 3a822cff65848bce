import { mcpEventIdMax } from "../../src/domain/limits.ts";
import { Gathered } from "./gathered.ts";

const [CR, LF] = [13, 10];
const EMPTY = Buffer.alloc(0);
const NEWLINE = Buffer.from("\n");

/** One event of a `text/event-stream`, as it came. */
export interface SseEvent {
  /** Every byte of it, to the empty line that ends it. */
  readonly raw: Buffer;
  /** Its data; null: it has none. */
  readonly data: Buffer | null;
  /** What a reader can go on from, a character a byte; null: it has none, or one that is too long. */
  readonly id: string | null;
}

/**
 * Cuts a `text/event-stream` into its events, which are kept until they are whole: what stands in one
 * is to be read before any of it passes. Lines end with CR LF, LF or CR.
 */
export class SseReader {
  readonly #bytesMax: number;
  readonly #held = new Gathered();
  /** Where the last line of what is held begins. */
  #line = 0;
  /** null: no line of data has come. */
  #data: Gathered | null = null;
  #id: string | null = null;
  /** A line with something in it has come: without one an empty line ends nothing. */
  #said = false;
  #first = true;
  /** The line before ended with a CR, to which an LF that follows belongs. */
  #afterCr = false;

  /** @param bytesMax of one event. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Nothing of an event has come. */
  get atBoundary(): boolean {
    return this.#held.length === 0;
  }

  /** Takes bytes. @returns the events that they end; null: one is longer than it may be. */
  push(chunk: Buffer): SseEvent[] | null {
    const events: SseEvent[] = [];
    let from = 0;
    for (const [at, byte] of chunk.entries()) {
      const secondHalf = byte === LF && this.#afterCr;
      this.#afterCr = byte === CR;
      if (byte !== CR && byte !== LF) continue;
      this.#held.push(chunk.subarray(from, at + 1));
      from = at + 1;
      if (this.#held.length > this.#bytesMax) return null;
      const line = this.#held.bytes.subarray(this.#line, this.#held.length - 1);
      const ended = !secondHalf && this.#endLine(line);
      this.#line = this.#held.length;
      if (ended) events.push(this.#cut());
    }
    this.#held.push(chunk.subarray(from));
    return this.#held.length > this.#bytesMax ? null : events;
  }

  /** @returns whether the line ends an event. */
  #endLine(line: Buffer): boolean {
    const marked = this.#first && line.toString("latin1", 0, 3) === "\xef\xbb\xbf";
    const text = marked ? line.subarray(3) : line;
    this.#first = false;
    if (text.length === 0) return this.#said;
    this.#said = true;
    const colon = text.indexOf(":");
    const field = text.toString("latin1", 0, colon < 0 ? text.length : Math.min(colon, 5));
    if (field.startsWith("id") && (colon === 2 || text.length === 2)) this.#id = idIn(text);
    if (field !== "data" || (colon >= 0 && colon !== 4)) return false;
    const value = colon < 0 ? EMPTY : text.subarray(text[5] === 0x20 ? 6 : 5);
    if (this.#data === null) this.#data = new Gathered();
    else this.#data.push(NEWLINE);
    this.#data.push(value);
    return false;
  }

  #cut(): SseEvent {
    const raw = this.#held.take(this.#held.length);
    const data = this.#data?.bytes ?? EMPTY;
    const id = this.#id;
    this.#id = null;
    this.#line = 0;
    this.#data = null;
    this.#said = false;
    return { raw, data: data.length === 0 ? null : data, id };
  }
}

const idIn = (line: Buffer): string | null => {
  const id = line.subarray(line[3] === 0x20 ? 4 : 3);
  return id.length === 0 || id.length > mcpEventIdMax ? null : id.toString("latin1");
};
