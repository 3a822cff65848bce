import type { Duplex } from "node:stream";
import { outboundBytesMax } from "../domain/limits.ts";
import type { RawHeaders } from "./fields.ts";
import { FLAG, FRAME, HEAD_BYTES, PAYLOAD_BYTES, WINDOW_DEFAULT, writeHead } from "./frames.ts";
import { encodedMax, encodeFields, TABLE_SIZE_0 } from "./hpack.ts";
import { type H2Stream, TURN } from "./stream.ts";

/**
 * Bytes of memory that small frames are written into, one after the other, by all connections in turn: of
 * thousands that say little, none holds memory for what it may say next. No byte is written to twice.
 */
const SLAB = 16 * 1024;
/** Bytes from which on a payload is handed on as it is, not copied. */
const COPY_MAX = 2 * 1024;
/** Bytes given to the socket at once. */
const BATCH = 64 * 1024;

/** What a sender tells its connection. */
export interface SenderHost {
  /** The peer makes us answer and does not read. */
  flooded(): void;
}

/**
 * The sending half of a connection. Frames of one tick leave in one write; streams take turns, each one
 * frame of its body, as long as the peer's windows and the socket have room.
 */
export class Sender {
  /** Bytes of all bodies that may be under way to the peer. */
  window = WINDOW_DEFAULT;
  readonly #socket: Duplex;
  readonly #host: SenderHost;
  #ready: H2Stream[] = NONE;
  #starved: H2Stream[] = NONE;
  /** Where the frames are that no part holds yet: from `#from` to `#at`. */
  #slab: Buffer = NOTHING;
  #from = 0;
  #at = 0;
  #parts: Buffer[] = NO_PARTS;
  #pending = 0;
  #scheduled = false;
  #blocked = false;
  #closed = false;
  /** Our next block begins by saying that it uses no table. */
  #owesTableSize = true;

  constructor(socket: Duplex, host: SenderHost) {
    this.#socket = socket;
    this.#host = host;
  }

  /** The socket has room again. */
  drained(): void {
    this.#blocked = false;
    this.flush();
  }

  /** The stream takes its turn when this tick is over. */
  wants(stream: H2Stream): void {
    if (stream.queued) return;
    stream.queued = true;
    this.#isReady(stream);
    this.#schedule();
  }

  /** The stream is over: it waits for no turn, and nothing here holds it. */
  drop(stream: H2Stream): void {
    stream.queued = false;
    remove(this.#ready, stream);
    remove(this.#starved, stream);
  }

  /** The connection's window has grown. */
  widen(bytes: number): void {
    this.window += bytes;
    if (this.window <= 0 || this.#starved.length === 0) return;
    for (const stream of this.#starved) this.#isReady(stream);
    this.#starved = NONE;
    this.#schedule();
  }

  tableSizeAsked(): void {
    this.#owesTableSize = true;
  }

  headers(stream: number, fields: RawHeaders, last: boolean): void {
    this.#reserve(HEAD_BYTES + encodedMax(fields));
    const head = this.#at;
    const start = head + HEAD_BYTES;
    let end = start;
    if (this.#owesTableSize) this.#slab[end++] = TABLE_SIZE_0;
    this.#owesTableSize = false;
    end = encodeFields(fields, this.#slab, end);
    const flags = last ? FLAG.END_STREAM : 0;
    if (end - start > PAYLOAD_BYTES) {
      this.#continued(stream, Buffer.from(this.#slab.subarray(start, end)), flags);
      return;
    }
    writeHead(this.#slab, head, end - start, FRAME.HEADERS, flags | FLAG.END_HEADERS, stream);
    this.#wrote(end - head);
  }

  /** A block that one frame does not hold. */
  #continued(stream: number, block: Buffer, flags: number): void {
    for (let at = 0; at < block.length; at += PAYLOAD_BYTES) {
      const part = block.subarray(at, at + PAYLOAD_BYTES);
      const last = at + part.length === block.length ? FLAG.END_HEADERS : 0;
      if (at === 0) this.control(FRAME.HEADERS, flags | last, stream, part);
      else this.control(FRAME.CONTINUATION, last, stream, part);
    }
  }

  /** The first `bytes` of a chunk. The caller has looked at the windows. */
  data(stream: number, chunk: Buffer, bytes: number, last: boolean): void {
    this.window -= bytes;
    const flags = last ? FLAG.END_STREAM : 0;
    if (bytes <= COPY_MAX) {
      this.#reserve(HEAD_BYTES + bytes);
      writeHead(this.#slab, this.#at, bytes, FRAME.DATA, flags, stream);
      chunk.copy(this.#slab, this.#at + HEAD_BYTES, 0, bytes);
      this.#wrote(HEAD_BYTES + bytes);
      return;
    }
    this.#reserve(HEAD_BYTES);
    writeHead(this.#slab, this.#at, bytes, FRAME.DATA, flags, stream);
    this.#wrote(HEAD_BYTES);
    this.#cutPart();
    this.#part(chunk.subarray(0, bytes));
    this.#pending += bytes;
  }

  /** Any frame with its payload. */
  control(type: number, flags: number, stream: number, payload: Uint8Array): void {
    this.#reserve(HEAD_BYTES + payload.length);
    writeHead(this.#slab, this.#at, payload.length, type, flags, stream);
    this.#slab.set(payload, this.#at + HEAD_BYTES);
    this.#wrote(HEAD_BYTES + payload.length);
    this.#schedule();
  }

  /** Bytes that are no frame: a client's preface. */
  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#slab.set(bytes, this.#at);
    this.#wrote(bytes.length);
  }

  /** A frame whose payload is one number of four bytes: WINDOW_UPDATE, RST_STREAM. */
  number(type: number, stream: number, value: number): void {
    this.#reserve(HEAD_BYTES + 4);
    writeHead(this.#slab, this.#at, 4, type, 0, stream);
    this.#slab.writeUInt32BE(value, this.#at + HEAD_BYTES);
    this.#wrote(HEAD_BYTES + 4);
    this.#schedule();
  }

  close(): void {
    this.#closed = true;
    this.#ready = NONE;
    this.#starved = NONE;
  }

  /** Sends what may be sent now. */
  flush(): void {
    while (!this.#blocked && this.#ready.length > 0 && !this.#closed) this.#takeTurns();
    this.#push();
  }

  #takeTurns(): void {
    const streams = this.#ready;
    this.#ready = NONE;
    for (let i = 0; i < streams.length; i++) {
      if (this.#blocked) {
        for (const waiting of streams.slice(i)) this.#isReady(waiting);
        return;
      }
      const stream = streams[i] as H2Stream;
      const turn = stream.turn(this);
      if (turn === TURN.MORE) this.#isReady(stream);
      else if (turn === TURN.STARVED) {
        if (this.#starved === NONE) this.#starved = [];
        this.#starved.push(stream);
      } else {
        stream.queued = false;
        // Something more was written while it had its turn.
        if (turn === TURN.DONE && stream.waiting) this.wants(stream);
      }
      if (this.#pending >= BATCH) this.#push();
    }
  }

  /** Most connections have no stream that waits, most of the time, and need no list. */
  #isReady(stream: H2Stream): void {
    if (this.#ready === NONE) this.#ready = [];
    this.#ready.push(stream);
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    process.nextTick(flushLater, this);
  }

  /** For `flushLater` alone. */
  tick(): void {
    this.#scheduled = false;
    this.flush();
  }

  #push(): void {
    this.#cutPart();
    this.#slab = NOTHING;
    if (this.#parts.length === 0) return;
    const parts = this.#parts;
    this.#parts = NO_PARTS;
    this.#pending = 0;
    const socket = this.#socket;
    if (socket.destroyed || socket.writableEnded) return;
    if (parts.length > 1) socket.cork();
    let room = true;
    for (const part of parts) room = socket.write(part);
    if (parts.length > 1) socket.uncork();
    if (room) return;
    this.#blocked = socket.writableNeedDrain;
    if (socket.writableLength > outboundBytesMax) this.#host.flooded();
  }

  /** What the slab holds that nobody has, as a part of its own. */
  #cutPart(): void {
    if (this.#at === this.#from) return;
    this.#part(this.#slab.subarray(this.#from, this.#at));
    this.#from = this.#at;
  }

  #part(bytes: Buffer): void {
    if (this.#parts === NO_PARTS) this.#parts = [];
    this.#parts.push(bytes);
  }

  #reserve(bytes: number): void {
    const roomy = slab.length - slabAt >= bytes;
    // Nobody else has written since.
    if (roomy && this.#slab === slab && this.#at === slabAt) return;
    this.#cutPart();
    if (!roomy) {
      slab = Buffer.allocUnsafeSlow(Math.max(SLAB, bytes));
      slabAt = 0;
    }
    this.#slab = slab;
    this.#from = slabAt;
    this.#at = slabAt;
  }

  #wrote(bytes: number): void {
    this.#at += bytes;
    slabAt = this.#at;
    this.#pending += bytes;
  }
}

const NOTHING = Buffer.alloc(0);
let slab = NOTHING;
let slabAt = 0;
const NONE: H2Stream[] = [];
const NO_PARTS: Buffer[] = [];

function remove(streams: H2Stream[], stream: H2Stream): void {
  const at = streams.indexOf(stream);
  if (at >= 0) streams.splice(at, 1);
}

const flushLater = (sender: Sender): void => sender.tick();
