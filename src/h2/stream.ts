import { streamWindowBytes } from "../domain/limits.ts";
import { ByteQueue } from "./byte-queue.ts";
import type { RawHeaders } from "./fields.ts";
import { CODE, PAYLOAD_BYTES } from "./frames.ts";
import type { Sender } from "./sender.ts";

/** What a stream tells whoever carries it. Nothing is told after `reset`, nor once both sides ended. */
export interface StreamListener {
  /** An answer's head. What follows is a body and its end, unless this was `last`. */
  head(fields: RawHeaders, last: boolean): void;
  /** A head with a status of 1xx, before the one that counts. */
  informational(fields: RawHeaders): void;
  /** Bytes of the peer's body. They are to be given back by `consumed` once they are held no more. */
  data(chunk: Buffer): void;
  /** The peer has said everything. @param trailers null: the body was the last. */
  ended(trailers: RawHeaders | null): void;
  /** Nothing more comes or goes. @param lost the connection is gone, and all of its streams. */
  reset(code: number, lost: boolean): void;
  /** So many bytes of `write` have left for the peer. */
  sent(bytes: number): void;
  /** Everything has left for the peer, its end included. */
  finished(): void;
}

/** What a stream asks of its connection. */
export interface StreamHost {
  /** The next stream's id: they must leave in their order. */
  begin(stream: H2Stream): number;
  /** The stream has something to send. */
  wants(stream: H2Stream): void;
  credit(stream: H2Stream, bytes: number): void;
  resetByUs(stream: H2Stream, code: number): void;
  endedByUs(stream: H2Stream): void;
}

/** How a stream's turn to send ended. */
export const TURN = {
  /** It has no more to say. */
  DONE: 0,
  /** It has, and others come first. */
  MORE: 1,
  /** Its own window is shut. */
  STALLED: 2,
  /** The connection's window is shut. */
  STARVED: 3,
} as const;
export type Turn = (typeof TURN)[keyof typeof TURN];

/**
 * One stream of an HTTP/2 connection. What is sent waits here in its order (a head, a body, its end) until
 * the windows and the socket have room, so that `write` never blocks: whoever writes is told what left, and
 * gives back as much to where it came from.
 */
export class H2Stream {
  /** 0: a client's stream whose head has not left yet. */
  id: number;
  listener: StreamListener = DEAF;
  /** Neither side has anything to say any more. */
  closed = false;
  peerEnded = false;
  /** Our end has left. */
  ownEnded = false;

  // For the connection alone.
  /** Heads of 1xx that have come. */
  informed = 0;
  /** It asks for a head alone, by HEAD. */
  asksHead = false;
  /** The answer's head has come. */
  headSeen = false;
  /** Bytes that `content-length` still promises; -1: it was not said. */
  contentLeft = -1;
  receiveWindow = streamWindowBytes;
  /** Bytes told to the listener and not given back. */
  held = 0;
  /** Bytes given back that the peer was not told of. */
  owed = 0;
  sendWindow: number;
  /** It waits for its turn to send. */
  queued = false;

  readonly #host: StreamHost;
  readonly #body = new ByteQueue();
  #informational: RawHeaders[] | null = null;
  #head: RawHeaders | null = null;
  #trailers: RawHeaders | null = null;
  #ending = false;
  #dismissing = false;

  constructor(id: number, host: StreamHost, sendWindow: number) {
    this.id = id;
    this.#host = host;
    this.sendWindow = sendWindow;
  }

  /** Sends the head; with `last` it is the end, too. */
  sendHead(fields: RawHeaders, last = false): void {
    this.#head = fields;
    if (last) this.#ending = true;
    this.#wants();
  }

  /** Sends a head of 1xx. */
  inform(fields: RawHeaders): void {
    this.#informational ??= [];
    this.#informational.push(fields);
    this.#wants();
  }

  write(chunk: Buffer): void {
    if (this.closed || this.#ending) return;
    this.#body.push(chunk);
    this.#wants();
  }

  /** Ends our side, once everything written has left. */
  end(trailers: RawHeaders | null = null): void {
    if (this.#ending) return;
    this.#ending = true;
    this.#trailers = trailers;
    this.#wants();
  }

  /**
   * Early server closure: once our side has ended, a peer that still sends is told to stop. What it
   * sends until then goes to the listener as ever.
   */
  dismiss(): void {
    if (this.closed || this.peerEnded) return;
    if (this.ownEnded) this.reset(CODE.NO_ERROR);
    else this.#dismissing = true;
  }

  /** What waits is not sent, nor an end that would make it look whole. All that can follow is `reset`. */
  hush(): void {
    this.#body.clear();
    this.#trailers = null;
    this.#ending = false;
  }

  /** Ends it at once, both ways. What waits is not sent, and the listener hears nothing more. */
  reset(code: number): void {
    if (this.closed) return;
    this.listener = DEAF;
    this.#host.resetByUs(this, code);
  }

  /** Gives back bytes that came by `data`. */
  consumed(bytes: number): void {
    if (bytes > 0 && !this.closed) this.#host.credit(this, bytes);
  }

  /** For the connection: it is over, whoever ended it. */
  close(): void {
    this.closed = true;
    this.listener = DEAF;
    this.#body.clear();
    this.#head = null;
    this.#trailers = null;
  }

  /** Whether it has something to send, now that there is room. */
  get waiting(): boolean {
    if (this.closed || this.ownEnded) return false;
    return (
      this.#body.length > 0 || this.#head !== null || this.#informational !== null || this.#ending
    );
  }

  #wants(): void {
    if (!this.closed) this.#host.wants(this);
  }

  /** Its turn to send: one frame of its body, and what stands before and after it. */
  turn(sender: Sender): Turn {
    if (this.closed || this.ownEnded) return TURN.DONE;
    if (this.id === 0) this.id = this.#host.begin(this);
    for (const fields of this.#informational ?? []) sender.headers(this.id, fields, false);
    this.#informational = null;
    if (this.#head !== null) {
      const last = this.#ending && this.#body.length === 0 && this.#trailers === null;
      sender.headers(this.id, this.#head, last);
      this.#head = null;
      if (last) return this.#left();
    }
    let sent = 0;
    let turn: Turn = TURN.DONE;
    for (let chunk = this.#body.first; chunk !== null; chunk = this.#body.first) {
      const room = Math.min(this.sendWindow, sender.window, PAYLOAD_BYTES - sent);
      if (room <= 0) {
        turn = this.sendWindow <= 0 ? TURN.STALLED : sender.window <= 0 ? TURN.STARVED : TURN.MORE;
        break;
      }
      const bytes = Math.min(room, chunk.length);
      const last = this.#ending && this.#trailers === null && bytes === this.#body.length;
      sender.data(this.id, chunk, bytes, last);
      this.#body.advance(bytes);
      this.sendWindow -= bytes;
      sent += bytes;
      if (last) {
        this.listener.sent(sent);
        return this.#left();
      }
    }
    if (sent > 0) this.listener.sent(sent);
    if (turn !== TURN.DONE || !this.#ending || this.closed) return turn;
    if (this.#trailers !== null) sender.headers(this.id, this.#trailers, true);
    else sender.data(this.id, NOTHING, 0, true);
    return this.#left();
  }

  #left(): Turn {
    this.ownEnded = true;
    const { listener } = this;
    if (this.#dismissing && !this.peerEnded) this.reset(CODE.NO_ERROR);
    else this.#host.endedByUs(this);
    listener.finished();
    return TURN.DONE;
  }
}

const NOTHING = Buffer.alloc(0);

/** Hears nothing: of a stream that nobody carries any more. */
const DEAF: StreamListener = {
  head() {},
  informational() {},
  data() {},
  ended() {},
  reset() {},
  sent() {},
  finished() {},
};
