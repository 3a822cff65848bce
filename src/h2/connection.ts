import type { Duplex } from "node:stream";
import {
  goodbyeUs,
  informationalMax,
  noiseBurst,
  noiseRate,
  settingsBurst,
  settingsRate,
  streamResetBurst,
  streamResetRate,
  streamsPerConnectionMax,
  streamWindowBytes,
} from "../domain/limits.ts";
import { Numbered } from "../domain/numbered.ts";
import type { Clock } from "../native/clock.ts";
import { Bucket } from "./bucket.ts";
import { ClosedStreams } from "./closed-streams.ts";
import {
  answerHead,
  type Declared,
  extendedHead,
  type RawHeaders,
  requestHead,
  trailers,
} from "./fields.ts";
import { FrameReader, type FrameTaker } from "./frame-reader.ts";
import {
  CODE,
  type Fault,
  FLAG,
  FRAME,
  fault,
  PREFACE,
  readU31,
  STREAM_ID_MAX,
  WINDOW_DEFAULT,
  WINDOW_MAX,
} from "./frames.ts";
import { type BlockTaker, HeaderBlocks } from "./header-blocks.ts";
import { HpackDecoder } from "./hpack.ts";
import { Sender, type SenderHost } from "./sender.ts";
import { ownSettings, PeerSettings } from "./settings.ts";
import { H2Stream, type StreamHost, type StreamListener } from "./stream.ts";

export interface H2Options {
  readonly role: "server" | "client";
  readonly clock: Clock;
  /** A server's: the peer opened a stream. Give it a listener before returning. */
  readonly onStream?: (stream: H2Stream, fields: RawHeaders, last: boolean) => void;
  /** A server's: it offers extended CONNECT (RFC 8441), whose streams `onStream` is to tell apart. */
  readonly extendedConnect?: boolean;
  /** false: the peer is asked to have us keep no fields, since it opens few streams. */
  readonly headerTable?: boolean;
  /** It is gone, after all of its streams were told. Once. */
  readonly onClose?: () => void;
}

/** Bytes of all bodies on one connection that we hold: no stream can shut out another. */
const RECEIVE_WINDOW = streamsPerConnectionMax * streamWindowBytes;
/** A peer is told of room again when so much has been given back. */
const CREDIT_STREAM = streamWindowBytes / 4;
const CREDIT_CONNECTION = RECEIVE_WINDOW / 16;
/** The last stream that a client opens, with room for those that have no id yet. */
const STREAM_ID_LAST = STREAM_ID_MAX - 2 * streamsPerConnectionMax;
const EMPTY = Buffer.alloc(0);
/** What a PING of ours says. */
const NO_WORD = Buffer.alloc(8);
const ignore = (): void => {};

/**
 * One HTTP/2 connection (RFC 9113) over a socket, as its server or its client. It takes nothing that
 * it does not understand: what is wrong with a stream ends the stream, what is wrong with the
 * connection ends that, and a peer that makes work without sense is sent away.
 */
export class H2Connection implements StreamHost, SenderHost, FrameTaker, BlockTaker {
  readonly #socket: Duplex;
  readonly #server: boolean;
  readonly #clock: Clock;
  readonly #options: H2Options;
  readonly #sender: Sender;
  readonly #reader: FrameReader;
  readonly #decoder = new HpackDecoder();
  readonly #settings = new PeerSettings();
  readonly #streams = new Numbered<H2Stream>();
  /** A client's streams that the peer has not heard of. */
  readonly #unborn: H2Stream[] = [];
  readonly #closedStreams = new ClosedStreams();
  readonly #blocks = new HeaderBlocks(this);
  // There are thousands of connections, and most never see such frames.
  #resets: Bucket | null = null;
  #noise: Bucket | null = null;
  #settingsTold: Bucket | null = null;
  /** Grows with whatever comes. */
  heard = 0;
  #greeted = false;
  #acknowledged = false;
  #receiveWindow = RECEIVE_WINDOW;
  #owed = 0;
  /** The last stream that the peer opened. */
  #peerId = 0;
  /** The next stream that we open. */
  #ownId = 1;
  /** What its GOAWAY named last. */
  #goneFrom = STREAM_ID_MAX;
  #draining = false;
  #closed = false;
  #gone = false;
  #onReady: (() => void) | null = null;

  constructor(socket: Duplex, options: H2Options) {
    const { role, clock } = options;
    this.#socket = socket;
    this.#server = role === "server";
    this.#clock = clock;
    this.#options = options;
    this.#sender = new Sender(socket, this);
    this.#reader = new FrameReader(this.#server, this);
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("drain", () => this.#sender.drained());
    socket.on("error", ignore);
    socket.on("close", () => this.#lost());
    this.#greet(options);
    socket.resume();
  }

  #greet({ role, extendedConnect = false, headerTable = true }: H2Options): void {
    if (!this.#server) this.#sender.raw(PREFACE);
    const settings = ownSettings(role, extendedConnect, headerTable);
    this.#sender.control(FRAME.SETTINGS, 0, 0, settings);
    this.#sender.number(FRAME.WINDOW_UPDATE, 0, RECEIVE_WINDOW - WINDOW_DEFAULT);
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#streams.size + this.#unborn.length;
  }

  /** The same, as they are now. */
  openStreams(): H2Stream[] {
    return [...this.#streams.values(), ...this.#unborn];
  }

  /** No stream on it can go on. */
  get closed(): boolean {
    return this.#closed;
  }

  /** A client's: whether it takes another stream now. */
  get usable(): boolean {
    const most = Math.min(this.#settings.maxStreams, streamsPerConnectionMax);
    return !this.#closed && !this.#draining && this.streams < most && this.#ownId < STREAM_ID_LAST;
  }

  /** Resolves once the peer has shown by its SETTINGS that it speaks HTTP/2. Rejects when it does not. */
  ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        if (this.#greeted) resolve();
        else reject(new Error("it closed the connection"));
      };
      if (this.#greeted || this.#closed) settle();
      else this.#onReady = settle;
    });
  }

  /** A client's: opens a stream. The connection must be `usable`. */
  open(fields: RawHeaders, last: boolean, listener: StreamListener): H2Stream {
    if (!this.usable) throw new Error("the connection takes no stream");
    const stream = new H2Stream(0, this, this.#settings.initialWindow);
    stream.listener = listener;
    stream.asksHead = fields[fields.indexOf(":method") + 1] === "HEAD";
    this.#unborn.push(stream);
    stream.sendHead(fields, last);
    return stream;
  }

  /** No new streams; those open may end, and then the connection does. */
  drain(): void {
    if (this.#closed || this.#draining) return;
    this.#draining = true;
    this.#sayGoaway(CODE.NO_ERROR, "");
    this.#endIfIdle();
  }

  /** Asks for a sign of life. */
  ping(): void {
    if (!this.#closed) this.#sender.control(FRAME.PING, 0, 0, NO_WORD);
  }

  destroy(): void {
    this.#socket.destroy();
    this.#lost();
  }

  flooded(): void {
    this.#fail(fault(CODE.ENHANCE_YOUR_CALM, "what we answer is not read"));
  }

  // What streams ask for.

  begin(stream: H2Stream): number {
    const id = this.#ownId;
    this.#ownId += 2;
    this.#unborn.splice(this.#unborn.indexOf(stream), 1);
    stream.id = id;
    this.#streams.add(id, stream);
    return id;
  }

  wants(stream: H2Stream): void {
    this.#sender.wants(stream);
  }

  credit(stream: H2Stream, bytes: number): void {
    stream.held -= bytes;
    this.#giveBack(bytes);
    if (stream.peerEnded) return;
    stream.owed += bytes;
    if (stream.owed < CREDIT_STREAM) return;
    stream.receiveWindow += stream.owed;
    this.#sender.number(FRAME.WINDOW_UPDATE, stream.id, stream.owed);
    stream.owed = 0;
  }

  resetByUs(stream: H2Stream, code: number): void {
    if (stream.id !== 0) {
      this.#sender.number(FRAME.RST_STREAM, stream.id, code);
      if (!stream.peerEnded) this.#closedStreams.forgive(stream.id);
    }
    this.#forget(stream);
  }

  endedByUs(stream: H2Stream): void {
    if (stream.peerEnded) this.#forget(stream);
  }

  // What comes in.

  #read(chunk: Buffer): void {
    if (this.#closed) return;
    this.heard++;
    const wrong = this.#reader.push(chunk);
    if (wrong !== null) this.#fail(wrong);
  }

  frame(
    type: number,
    flags: number,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): Fault | null {
    // Whoever was told of the frame before may have ended the connection.
    if (this.#closed) return null;
    if (!this.#greeted && (type !== FRAME.SETTINGS || (flags & FLAG.ACK) !== 0)) {
      return fault(CODE.PROTOCOL_ERROR, "the first frame is not SETTINGS");
    }
    if (this.#blocks.interrupted(type, id)) {
      return fault(CODE.PROTOCOL_ERROR, "a header block is interrupted");
    }
    switch (type) {
      case FRAME.DATA:
        return this.#data(flags, id, bytes, start, end);
      case FRAME.HEADERS:
        return this.#blocks.headers(flags, id, bytes, start, end);
      case FRAME.CONTINUATION:
        return this.#blocks.continuation(flags, bytes, start, end);
      case FRAME.WINDOW_UPDATE:
        return this.#windowUpdate(id, bytes, start, end);
      case FRAME.RST_STREAM:
        return this.#rstStream(id, bytes, start, end);
      case FRAME.SETTINGS:
        return this.#takeSettings(flags, id, bytes, start, end);
      case FRAME.PING:
        return this.#ping(flags, id, bytes, start, end);
      case FRAME.GOAWAY:
        return this.#goaway(id, bytes, start, end);
      case FRAME.PRIORITY:
        if (id === 0) return fault(CODE.PROTOCOL_ERROR, "PRIORITY of no stream");
        if (end - start !== 5) return fault(CODE.FRAME_SIZE_ERROR, "PRIORITY is torn");
        return this.#noisy();
      case FRAME.PUSH_PROMISE:
        return fault(CODE.PROTOCOL_ERROR, "pushing was not allowed");
      default:
        return this.#noisy();
    }
  }

  /** Frames without effect are allowed, in measure. */
  #noisy(): Fault | null {
    this.#noise ??= new Bucket(this.#clock, noiseBurst, noiseRate);
    return this.#noise.spill() ? fault(CODE.ENHANCE_YOUR_CALM, "too much noise") : null;
  }

  headerBlock(flags: number, id: number, bytes: Buffer, start: number, end: number): Fault | null {
    const fields = this.#decoder.decode(bytes, start, end);
    if (fields === null) return fault(CODE.COMPRESSION_ERROR, "a header block is no HPACK");
    const last = (flags & FLAG.END_STREAM) !== 0;
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      if (!this.#server || id % 2 === 0 || id <= this.#peerId) return this.#late(id);
      return this.#opened(id, fields, last);
    }
    if (this.#decoder.tooLarge) return this.#spoil(stream, CODE.ENHANCE_YOUR_CALM);
    if (stream.peerEnded) return this.#spoil(stream, CODE.STREAM_CLOSED);
    if (!this.#server && !stream.headSeen) return this.#answered(stream, fields, last);
    if (!last || typeof trailers(fields) === "string" || stream.contentLeft > 0) {
      return this.#spoil(stream, CODE.PROTOCOL_ERROR);
    }
    this.#peerEnded(stream, fields);
    return null;
  }

  /** The peer opens a stream. */
  #opened(id: number, fields: RawHeaders, last: boolean): Fault | null {
    // Above what our GOAWAY named: the peer knows that we never looked at it.
    if (this.#draining) return null;
    this.#peerId = id;
    const declared = (this.#options.extendedConnect ? extendedHead : requestHead)(fields);
    let code: number = CODE.NO_ERROR;
    if (this.#decoder.tooLarge) code = CODE.ENHANCE_YOUR_CALM;
    else if (typeof declared === "string" || (last && declared.contentLength > 0)) {
      code = CODE.PROTOCOL_ERROR;
    } else if (this.#streams.size >= streamsPerConnectionMax) code = CODE.REFUSED_STREAM;
    if (code !== CODE.NO_ERROR) {
      this.#sender.number(FRAME.RST_STREAM, id, code);
      if (!last) this.#closedStreams.forgive(id);
      return this.#wasReset();
    }
    const stream = new H2Stream(id, this, this.#settings.initialWindow);
    stream.contentLeft = (declared as Declared).contentLength;
    stream.headSeen = true;
    stream.peerEnded = last;
    this.#streams.add(id, stream);
    this.#options.onStream?.(stream, fields, last);
    return null;
  }

  /** The head of an answer. */
  #answered(stream: H2Stream, fields: RawHeaders, last: boolean): Fault | null {
    const declared = answerHead(fields);
    if (typeof declared === "string") return this.#spoil(stream, CODE.PROTOCOL_ERROR);
    const { status, contentLength } = declared;
    if (status < 200) {
      if (last) return this.#spoil(stream, CODE.PROTOCOL_ERROR);
      if (++stream.informed > informationalMax) return this.#spoil(stream, CODE.ENHANCE_YOUR_CALM);
      stream.listener.informational(fields);
      return null;
    }
    // RFC 9110, §8.6: these say how long a body would be, and have none.
    const promised = stream.asksHead || status === 304 ? 0 : contentLength;
    if (last && promised > 0) return this.#spoil(stream, CODE.PROTOCOL_ERROR);
    stream.headSeen = true;
    stream.contentLeft = promised;
    if (last) stream.peerEnded = true;
    stream.listener.head(fields, last);
    if (last && stream.ownEnded && !stream.closed) this.#forget(stream);
    return null;
  }

  #data(flags: number, id: number, bytes: Buffer, start: number, end: number): Fault | null {
    if (id === 0) return fault(CODE.PROTOCOL_ERROR, "DATA of no stream");
    const whole = end - start;
    let from = start;
    let to = end;
    if ((flags & FLAG.PADDED) !== 0) to -= bytes[from++] ?? 0;
    if (from > to) return fault(CODE.PROTOCOL_ERROR, "DATA are all padding");
    this.#receiveWindow -= whole;
    if (this.#receiveWindow < 0) {
      return fault(CODE.FLOW_CONTROL_ERROR, "more DATA than the connection's window");
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      this.#giveBack(whole);
      return this.#late(id);
    }
    const size = to - from;
    const last = (flags & FLAG.END_STREAM) !== 0;
    const code = this.#dataFault(stream, whole, size, last);
    if (code !== CODE.NO_ERROR) {
      this.#giveBack(whole);
      return this.#spoil(stream, code);
    }
    stream.held += whole;
    // Padding is held by nobody.
    if (whole > size) this.credit(stream, whole - size);
    if (size > 0) stream.listener.data(bytes.subarray(from, to));
    else if (!last) return this.#noisy();
    if (last && !stream.closed) this.#peerEnded(stream, null);
    return null;
  }

  /** What is wrong with a stream's DATA; NO_ERROR: nothing. */
  #dataFault(stream: H2Stream, whole: number, size: number, last: boolean): number {
    if (stream.peerEnded) return CODE.STREAM_CLOSED;
    if (!stream.headSeen) return CODE.PROTOCOL_ERROR;
    stream.receiveWindow -= whole;
    if (stream.receiveWindow < 0) return CODE.FLOW_CONTROL_ERROR;
    if (stream.contentLeft < 0) return CODE.NO_ERROR;
    stream.contentLeft -= size;
    return stream.contentLeft < 0 || (last && stream.contentLeft > 0)
      ? CODE.PROTOCOL_ERROR
      : CODE.NO_ERROR;
  }

  #peerEnded(stream: H2Stream, fields: RawHeaders | null): void {
    stream.peerEnded = true;
    stream.listener.ended(fields);
    if (stream.ownEnded && !stream.closed) this.#forget(stream);
  }

  #windowUpdate(id: number, bytes: Buffer, start: number, end: number): Fault | null {
    if (end - start !== 4) return fault(CODE.FRAME_SIZE_ERROR, "WINDOW_UPDATE is torn");
    const gained = readU31(bytes, start);
    if (id === 0) {
      if (gained === 0) return fault(CODE.PROTOCOL_ERROR, "WINDOW_UPDATE of nothing");
      if (this.#sender.window + gained > WINDOW_MAX) {
        return fault(CODE.FLOW_CONTROL_ERROR, "the connection's window is too large");
      }
      this.#sender.widen(gained);
      return null;
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) return this.#isIdle(id) ? this.#idle(id) : null;
    if (gained === 0) return this.#spoil(stream, CODE.PROTOCOL_ERROR);
    if (stream.sendWindow + gained > WINDOW_MAX) {
      return this.#spoil(stream, CODE.FLOW_CONTROL_ERROR);
    }
    stream.sendWindow += gained;
    if (stream.waiting) this.#sender.wants(stream);
    return null;
  }

  #rstStream(id: number, bytes: Buffer, start: number, end: number): Fault | null {
    if (end - start !== 4) return fault(CODE.FRAME_SIZE_ERROR, "RST_STREAM is torn");
    if (this.#isIdle(id)) return this.#idle(id);
    const stream = this.#streams.get(id);
    if (stream !== undefined) this.#end(stream, bytes.readUInt32BE(start), false);
    else this.#closedStreams.forget(id);
    return this.#wasReset();
  }

  #takeSettings(
    flags: number,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): Fault | null {
    if (id !== 0) return fault(CODE.PROTOCOL_ERROR, "SETTINGS of a stream");
    if ((flags & FLAG.ACK) !== 0) {
      if (end > start) return fault(CODE.FRAME_SIZE_ERROR, "SETTINGS are acknowledged at length");
      if (this.#acknowledged) return fault(CODE.PROTOCOL_ERROR, "SETTINGS acknowledged twice");
      this.#acknowledged = true;
      return null;
    }
    this.#settingsTold ??= new Bucket(this.#clock, settingsBurst, settingsRate);
    if (this.#settingsTold.spill()) return fault(CODE.ENHANCE_YOUR_CALM, "too many SETTINGS");
    const before = this.#settings.initialWindow;
    const wrong = this.#settings.apply(bytes, start, end, !this.#server);
    if (wrong !== null) return wrong;
    const grown = this.#settings.initialWindow - before;
    for (const stream of grown === 0 ? [] : this.openStreams()) {
      stream.sendWindow += grown;
      if (stream.sendWindow > WINDOW_MAX) {
        return fault(CODE.FLOW_CONTROL_ERROR, "a stream's window is too large");
      }
      if (stream.waiting) this.#sender.wants(stream);
    }
    if (this.#settings.tableSizeSaid) this.#sender.tableSizeAsked();
    this.#sender.control(FRAME.SETTINGS, FLAG.ACK, 0, EMPTY);
    this.#greeted = true;
    this.#tellReady();
    return null;
  }

  #ping(flags: number, id: number, bytes: Buffer, start: number, end: number): Fault | null {
    if (id !== 0) return fault(CODE.PROTOCOL_ERROR, "PING of a stream");
    if (end - start !== 8) return fault(CODE.FRAME_SIZE_ERROR, "PING is torn");
    if ((flags & FLAG.ACK) === 0) {
      this.#sender.control(FRAME.PING, FLAG.ACK, 0, bytes.subarray(start, end));
    }
    return this.#noisy();
  }

  #goaway(id: number, bytes: Buffer, start: number, end: number): Fault | null {
    if (id !== 0) return fault(CODE.PROTOCOL_ERROR, "GOAWAY of a stream");
    if (end - start < 8) return fault(CODE.FRAME_SIZE_ERROR, "GOAWAY is torn");
    const from = readU31(bytes, start);
    if (from > this.#goneFrom) return fault(CODE.PROTOCOL_ERROR, "GOAWAY takes back its word");
    this.#goneFrom = from;
    this.#draining = true;
    if (!this.#server) {
      // It never looked at those: they may be tried elsewhere.
      for (const stream of this.openStreams()) {
        if (stream.id > from || stream.id === 0) this.#end(stream, CODE.REFUSED_STREAM, false);
      }
    }
    this.#endIfIdle();
    return this.#noisy();
  }

  /** Frames of a stream that is not open. */
  #late(id: number): Fault | null {
    if (this.#isIdle(id)) return this.#draining && this.#server ? null : this.#idle(id);
    // What was under way when we reset it.
    if (this.#closedStreams.forgives(id)) return null;
    return fault(CODE.STREAM_CLOSED, `stream ${id} is closed`);
  }

  /** Nobody has opened it yet. */
  #isIdle(id: number): boolean {
    if (id === 0) return true;
    if (id % 2 === 0) return true;
    return this.#server ? id > this.#peerId : id >= this.#ownId;
  }

  #idle(id: number): Fault {
    return fault(CODE.PROTOCOL_ERROR, `nobody opened stream ${id}`);
  }

  // Endings.

  /** The peer broke the rules of one stream. */
  #spoil(stream: H2Stream, code: number): Fault | null {
    this.#sender.number(FRAME.RST_STREAM, stream.id, code);
    if (!stream.peerEnded) this.#closedStreams.forgive(stream.id);
    this.#end(stream, code, false);
    return this.#wasReset();
  }

  /** Resets cost us work, whoever says them. */
  #wasReset(): Fault | null {
    this.#resets ??= new Bucket(this.#clock, streamResetBurst, streamResetRate);
    return this.#resets.spill() ? fault(CODE.ENHANCE_YOUR_CALM, "too many resets") : null;
  }

  #end(stream: H2Stream, code: number, lost: boolean): void {
    const { listener } = stream;
    this.#forget(stream);
    listener.reset(code, lost);
  }

  #forget(stream: H2Stream): void {
    if (stream.closed) return;
    if (stream.id === 0) this.#unborn.splice(this.#unborn.indexOf(stream), 1);
    else this.#streams.delete(stream.id);
    this.#giveBack(stream.held);
    if (stream.queued) this.#sender.drop(stream);
    stream.close();
    this.#endIfIdle();
  }

  #giveBack(bytes: number): void {
    this.#owed += bytes;
    if (this.#owed < CREDIT_CONNECTION || this.#closed) return;
    this.#receiveWindow += this.#owed;
    this.#sender.number(FRAME.WINDOW_UPDATE, 0, this.#owed);
    this.#owed = 0;
  }

  #sayGoaway(code: number, detail: string): void {
    const text = Buffer.from(detail, "latin1");
    const payload = Buffer.alloc(8 + text.length);
    payload.writeUInt32BE(this.#server ? this.#peerId : 0, 0);
    payload.writeUInt32BE(code, 4);
    text.copy(payload, 8);
    this.#sender.control(FRAME.GOAWAY, 0, 0, payload);
  }

  /** The peer broke the rules of the connection: it is told which, and that was all. */
  #fail({ code, detail }: Fault): void {
    if (this.#closed) return;
    this.#sayGoaway(code, detail);
    this.#hangUp();
    this.#tellStreams();
  }

  #endIfIdle(): void {
    if (this.#draining && !this.#closed && this.streams === 0) this.#hangUp();
  }

  /** What was said leaves, and then the socket is closed, whether the peer reads it or not. */
  #hangUp(): void {
    this.#closed = true;
    this.#tellReady();
    this.#sender.flush();
    this.#sender.close();
    this.#socket.end();
    const late = this.#clock.after(goodbyeUs, () => this.#socket.destroy());
    this.#socket.once("close", () => late.cancel());
  }

  #lost(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#closed = true;
    this.#sender.close();
    this.#tellReady();
    this.#tellStreams();
    this.#options.onClose?.();
  }

  #tellStreams(): void {
    for (const stream of this.openStreams()) this.#end(stream, CODE.CANCEL, true);
  }

  #tellReady(): void {
    this.#onReady?.();
    this.#onReady = null;
  }
}
