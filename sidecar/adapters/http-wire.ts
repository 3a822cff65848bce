import type { Socket } from "node:net";
import { chunkLineBytesMax, headerListBytesMax } from "../../src/domain/limits.ts";
import { FRAMING_TRAILER, type Framing, frames } from "./http-fields.ts";
import { headEnd, type Malformed, malformed, parseFields, type RawFields } from "./http-head.ts";

const EMPTY = Buffer.alloc(0);
const [CR, LF] = [13, 10];

/** The other side said nothing more, before what it was saying was whole. */
export const GONE = Symbol("gone");
export type Gone = typeof GONE;

/**
 * One side of a connection, read as it is asked for: what nobody reads stays in the socket, and holds
 * its sender back. One reading at a time.
 */
export class HttpReader {
  readonly #socket: Socket;
  #held: Buffer = EMPTY;
  #over = false;
  #wake: (() => void) | null = null;
  #onGone: (() => void) | null = null;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("readable", this.#look);
    socket.on("end", this.#ended);
    socket.on("close", this.#ended);
    if (socket.destroyed || socket.readableEnded) this.#over = true;
  }

  readonly #look = (): void => {
    // Nobody asks, and nothing is there: that shows the end, and nothing else.
    if (this.#wake === null && this.#socket.readableLength === 0) {
      const bytes = this.#socket.read() as Buffer | null;
      if (bytes !== null) this.#held = Buffer.concat([this.#held, bytes]);
    }
    this.#wake?.();
  };

  readonly #ended = (): void => {
    if (this.#over) return;
    this.#over = true;
    this.#wake?.();
    this.#onGone?.();
  };

  /** Nothing more will come. What came before may still be here. */
  get over(): boolean {
    return this.#over;
  }

  /** Calls back when nothing more will come; replaces who was called before. */
  onGone(listener: (() => void) | null): void {
    this.#onGone = listener;
    if (this.#over) listener?.();
  }

  /** Whether something waits to be read. */
  get pending(): boolean {
    return this.#held.length > 0 || this.#socket.readableLength > 0;
  }

  /** The next bytes, as many as there are; null: there are no more. */
  async take(): Promise<Buffer | null> {
    if (this.#held.length > 0) {
      const held = this.#held;
      this.#held = EMPTY;
      return held;
    }
    for (;;) {
      const bytes = this.#socket.read() as Buffer | null;
      if (bytes !== null) return bytes;
      if (this.#over) return null;
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
      this.#wake = null;
    }
  }

  /** Resolves once there is something to read, or nothing will come. */
  async ready(): Promise<void> {
    const bytes = await this.take();
    if (bytes !== null) this.give(bytes);
  }

  /** Puts back what was taken too much. */
  give(bytes: Buffer): void {
    this.#held = this.#held.length === 0 ? bytes : Buffer.concat([bytes, this.#held]);
  }

  /** The bytes of a head, its empty line with it; null: the connection ended before its first byte. */
  async head(): Promise<Buffer | null | Gone | Malformed> {
    let bytes: Buffer = EMPTY;
    for (;;) {
      const more = await this.take();
      if (more === null) return bytes.length === 0 ? null : GONE;
      const seen = Math.max(bytes.length - 1, 0);
      bytes = bytes.length === 0 ? more : Buffer.concat([bytes, more]);
      const end = headEnd(bytes, seen);
      if (typeof end !== "number") return end;
      if (end < 0) continue;
      if (end < bytes.length) this.give(bytes.subarray(end));
      return bytes.subarray(0, end);
    }
  }

  /** A line without its end. */
  async line(max: number): Promise<string | Gone | Malformed> {
    let bytes: Buffer = EMPTY;
    for (;;) {
      const more = await this.take();
      if (more === null) return GONE;
      bytes = bytes.length === 0 ? more : Buffer.concat([bytes, more]);
      const end = bytes.indexOf(LF);
      if (end > max || (end < 0 && bytes.length > max)) {
        return malformed(`a line of its body is longer than ${max} bytes`);
      }
      if (end < 0) continue;
      if (bytes[end - 1] !== CR) return malformed("a line of its body ends without CR");
      if (end + 1 < bytes.length) this.give(bytes.subarray(end + 1));
      return `${bytes.toString("latin1", 0, end - 1)}\n`;
    }
  }

  /** Hands the connection over, with what was read too much of it. */
  release(): void {
    this.#socket.off("readable", this.#look);
    this.#socket.off("end", this.#ended);
    this.#socket.off("close", this.#ended);
    if (this.#held.length > 0) this.#socket.unshift(this.#held);
    this.#held = EMPTY;
  }
}

const SIZE = /^([0-9A-Fa-f]{1,12})(?:;[\t\x20-\x7e]*)?\n$/;

/**
 * One body, piece by piece, without its framing. Chunk extensions are read over and go no further, as
 * they speak to the next server alone.
 */
export class HttpBody {
  readonly #reader: HttpReader;
  readonly #framing: Framing;
  /** Of the chunk or the whole body. */
  #left: number;
  #inChunk = false;
  #whole: boolean;
  trailers: RawFields = [];

  constructor(reader: HttpReader, framing: Framing) {
    this.#reader = reader;
    this.#framing = framing;
    this.#left = framing.kind === "length" ? framing.bytes : 0;
    this.#whole = framing.kind === "none" || (framing.kind === "length" && framing.bytes === 0);
  }

  /** Everything was read. */
  get whole(): boolean {
    return this.#whole;
  }

  /** The next piece; null: it is whole, and `trailers` are known. */
  async read(): Promise<Buffer | null | Gone | Malformed> {
    if (this.#whole) return null;
    if (this.#framing.kind === "close") {
      const piece = await this.#reader.take();
      this.#whole = piece === null;
      return piece;
    }
    if (this.#framing.kind === "chunked" && this.#left === 0) {
      const fault = await this.#nextChunk();
      if (fault !== null) return fault;
      if (this.#whole) return null;
    }
    const piece = await this.#reader.take();
    if (piece === null) return GONE;
    if (piece.length > this.#left) this.#reader.give(piece.subarray(this.#left));
    const mine = piece.length > this.#left ? piece.subarray(0, this.#left) : piece;
    this.#left -= mine.length;
    if (this.#framing.kind === "length") this.#whole = this.#left === 0;
    return mine;
  }

  async #nextChunk(): Promise<Gone | Malformed | null> {
    if (this.#inChunk) {
      const end = await this.#reader.line(1);
      if (typeof end !== "string") return end;
      if (end !== "\n") return malformed("a chunk is longer than it says");
      this.#inChunk = false;
    }
    const line = await this.#reader.line(chunkLineBytesMax);
    if (typeof line !== "string") return line;
    const size = SIZE.exec(line)?.[1];
    if (size === undefined) return malformed("a chunk begins with no size");
    this.#left = Number.parseInt(size, 16);
    this.#inChunk = this.#left > 0;
    return this.#inChunk ? null : this.#end();
  }

  async #end(): Promise<Gone | Malformed | null> {
    const lines: string[] = [];
    for (let bytes = 0; ; ) {
      const line = await this.#reader.line(headerListBytesMax);
      if (typeof line !== "string") return line;
      if (line === "\n") break;
      bytes += line.length;
      if (bytes > headerListBytesMax) {
        return malformed(`the trailers are longer than ${headerListBytesMax} bytes`);
      }
      lines.push(line.slice(0, -1));
    }
    const fields = parseFields(lines);
    if ("malformed" in fields) return fields;
    if (frames(fields)) return FRAMING_TRAILER;
    this.trailers = fields;
    this.#whole = true;
    return null;
  }
}

/** Sends one body as it is framed. Nothing is kept: who writes waits for what `write` returns. */
export class HttpBodyWriter {
  readonly #socket: Socket;
  readonly #chunked: boolean;

  constructor(socket: Socket, framing: Framing) {
    this.#socket = socket;
    this.#chunked = framing.kind === "chunked";
  }

  /** @returns null: go on; else wait until the other side has taken what is on its way. */
  write(piece: Uint8Array): Promise<void> | null {
    const socket = this.#socket;
    if (!this.#chunked) return send(socket, piece);
    socket.cork();
    socket.write(`${piece.length.toString(16)}\r\n`, "latin1");
    socket.write(piece);
    const wait = send(socket, END_OF_CHUNK);
    socket.uncork();
    return wait;
  }

  end(trailers: RawFields): void {
    if (!this.#chunked) return;
    let text = "0\r\n";
    for (let i = 0; i < trailers.length; i += 2) text += `${trailers[i]}: ${trailers[i + 1]}\r\n`;
    this.#socket.write(`${text}\r\n`, "latin1");
  }
}

/** A connection on which HTTP/1 is spoken no more. */
export interface Switched {
  readonly reader: HttpReader;
  readonly socket: Socket;
}

const END_OF_CHUNK = Buffer.from("\r\n");

/** Writes, and says whether to wait. A connection that breaks ends every waiting. */
export function send(socket: Socket, bytes: Uint8Array): Promise<void> | null {
  if (socket.destroyed || socket.write(bytes)) return null;
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off("drain", done);
      socket.off("close", done);
      resolve();
    };
    socket.on("drain", done);
    socket.on("close", done);
  });
}

/** RST, where there is a TCP connection to send it on. */
export function breakOff(socket: Socket): void {
  try {
    socket.resetAndDestroy();
  } catch {
    // Inside of TLS: its end without a goodbye says the same.
    socket.destroy();
  }
}
