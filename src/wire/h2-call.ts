import type { RawHeaders } from "../h2/fields.ts";
import type { H2Stream, StreamListener } from "../h2/stream.ts";
import { framesOf } from "./encoded.ts";
import { ANSWER_HEAD, FieldMetadata, fieldOf, timeoutOf, trailersOf } from "./grpc-fields.ts";
import { type FrameFlaw, MessageReader, type MessageTaker } from "./grpc-frames.ts";
import { decode, type MountedMethod, pathOf } from "./messages.ts";
import { Queue, type Sink } from "./queue.ts";
import {
  answersStream,
  type CallContext,
  type CallHead,
  type CallMetadata,
  type Requests,
  sendsStream,
} from "./rpc.ts";
import { StatusError } from "./status.ts";
import { Tail } from "./tail.ts";
import { type CallFault, told } from "./told.ts";

/** What all calls of a server have in common. */
export interface CallGround {
  readonly methods: ReadonlyMap<string, MountedMethod>;
  /** Bytes of one message, where its method has no limit of its own. */
  readonly messageBytesMax: number;
  readonly onFault: CallFault;
  /** Calls back once after `us` microseconds. */
  readonly after: (us: number, fn: () => void) => { cancel(): void };
  /** What every stream of answers ends with from now on; null: by itself. */
  readonly streamsEnd: () => StatusError | null;
}

/** What a call needs to know of the connection that it came on. */
export interface CallPeer {
  readonly ground: CallGround;
  /** `address:port` of the other side. */
  readonly peer: string;
  /** The certificate that it showed, DER. */
  readonly certificate: Uint8Array;
}

/** Answers of one call that have not left: from so many bytes on the next is not asked for. */
const UNSENT_BYTES_MAX = 64 * 1024;
/** Messages that wait to be asked for: no more come than the stream's window has room for. */
const WAITING_MAX = Number.POSITIVE_INFINITY;

/** A stream that asks for something, served to its end. */
export function serveCall(
  from: CallPeer,
  stream: H2Stream,
  fields: RawHeaders,
  last: boolean,
): void {
  const problem = notGrpc(fields);
  if (problem !== null) {
    stream.sendHead([":status", problem], true);
    stream.dismiss();
    return;
  }
  const mounted = from.ground.methods.get(fieldOf(fields, ":path") ?? "");
  if (mounted === undefined)
    refuse(stream, new StatusError("UNIMPLEMENTED", "", "there is no such method"));
  else new Call(from.ground, stream, mounted).begin(from, fields, last);
}

/** Before anything of it was carried out. */
function refuse(stream: H2Stream, error: StatusError): void {
  const trailers = trailersOf(error);
  stream.sendHead([...ANSWER_HEAD, ...trailers], true);
  stream.dismiss();
}

/** The call that a stream carries ends with `error`, if it is one that streams its answers. */
export function endStreaming({ listener }: H2Stream, error: StatusError): void {
  if (listener instanceof Call) listener.endStreaming(error);
}

/** The HTTP status of what is no gRPC; null: it is. */
function notGrpc(fields: RawHeaders): string | null {
  if (fieldOf(fields, ":method") !== "POST") return "405";
  return /^application\/grpc(?:$|[+;])/.test(fieldOf(fields, "content-type") ?? "") ? null : "415";
}

/** What a handler is told of its call. It goes with the handler, and the call goes on with a `Tail`. */
class Context implements CallContext {
  readonly metadata: CallMetadata;
  readonly peer: string;
  readonly certificate: Uint8Array | null;
  readonly caller: unknown;
  readonly deadlineUs: number;
  readonly #call: Call;

  constructor(call: Call, head: CallHead, caller: unknown, deadlineUs: number) {
    this.metadata = head.metadata;
    this.peer = head.peer;
    this.certificate = head.certificate;
    this.caller = caller;
    this.deadlineUs = deadlineUs;
    this.#call = call;
  }

  get signal(): AbortSignal {
    return this.#call.signal;
  }
}

/**
 * One call. There are two for each of thousands of connections, which wait for hours: what it does not need
 * then it does not hold.
 */
class Call implements StreamListener, MessageTaker, Sink<unknown>, Requests<unknown> {
  readonly #ground: CallGround;
  readonly #stream: H2Stream;
  readonly #mounted: MountedMethod;
  readonly #waiting = new Queue<Uint8Array>(WAITING_MAX);
  #reader: MessageReader | null = null;
  /** Bytes of messages that wait, which the peer is not given back. */
  #owed = 0;
  #headSent = false;
  #over = false;
  #unsent = 0;
  #onRoom: (() => void) | null = null;
  #timer: { cancel(): void } | null = null;
  /** Made for whoever asks. */
  #abort: AbortController | null = null;
  #aborted = false;
  /** Where its answers come from. */
  #answers: AsyncIterator<unknown> | null = null;
  /** Where the rest of them comes from. */
  #tail: Tail | null = null;

  constructor(ground: CallGround, stream: H2Stream, mounted: MountedMethod) {
    this.#ground = ground;
    this.#stream = stream;
    this.#mounted = mounted;
    stream.listener = this;
  }

  begin({ peer, certificate }: CallPeer, fields: RawHeaders, last: boolean): void {
    const { after, messageBytesMax, streamsEnd } = this.#ground;
    const { entry, method } = this.#mounted;
    const timeoutUs = timeoutOf(fields);
    if (timeoutUs === null) {
      this.#end(new StatusError("INTERNAL", "", "grpc-timeout is malformed"));
      return;
    }
    const head: CallHead = { metadata: new FieldMetadata(fields), peer, certificate };
    let caller: unknown;
    try {
      caller = entry?.admit(head);
    } catch (error) {
      this.#end(this.#told(error));
      return;
    }
    const ending = answersStream(method) ? streamsEnd() : null;
    if (ending !== null) {
      this.#end(ending);
      return;
    }
    this.#reader = new MessageReader(entry?.messageBytesMax ?? messageBytesMax, this);
    let deadlineUs = Number.POSITIVE_INFINITY;
    if (timeoutUs !== Number.POSITIVE_INFINITY) {
      deadlineUs = Date.now() * 1000 + timeoutUs;
      this.#timer = after(timeoutUs, () => this.#late());
    }
    if (last) this.#waiting.end();
    void this.#run(new Context(this, head, caller, deadlineUs));
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#aborted) this.#abort.abort();
    return this.#abort.signal;
  }

  async #run(context: CallContext): Promise<void> {
    try {
      const tail = await this.#handle(context);
      if (tail === null) this.#end(null);
      else this.#follow(tail);
    } catch (error) {
      this.#end(this.#told(error));
    }
  }

  /** Resolves to where the rest of its answers comes from; null: it has answered. */
  async #handle(context: CallContext): Promise<Tail | null> {
    const { method, handler } = this.#mounted;
    const request = sendsStream(method) ? this : await only(this);
    if (!answersStream(method)) {
      this.#answer(framesOf(method.output, await handler(request, context)));
      return null;
    }
    const stream = handler(request, context) as AsyncIterable<unknown>;
    this.#answers = stream[Symbol.asyncIterator]();
    while (!this.#over) {
      const { done, value } = await this.#answers.next();
      if (done) return value instanceof Tail ? value : null;
      if (this.#over) break;
      this.#answer(framesOf(method.output, value));
      if (this.#unsent >= UNSENT_BYTES_MAX) await new Promise<void>((room) => this.#wait(room));
    }
    return null;
  }

  #follow(tail: Tail): void {
    this.#answers = null;
    this.#tail = tail;
    if (this.#over) this.#leave();
    else tail.queue.flow(this);
  }

  // What its handler reads: as an iterator of its own, whose end leaves the stream to answer on.

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<unknown, undefined>> {
    const step = await this.#waiting.next();
    return step.done ? step : { done: false, value: this.read(step.value) };
  }

  return(): Promise<IteratorResult<unknown, undefined>> {
    this.ignore();
    return Promise.resolve({ done: true, value: undefined });
  }

  each(take: (message: unknown) => Promise<void> | void, over: (error: unknown) => void): void {
    this.#waiting.flow(new Each(this, take, over));
  }

  /** For `Each`. */
  more(): void {
    this.#waiting.resume();
  }

  read(bytes: Uint8Array): unknown {
    if (this.#waiting.length === 0) this.#giveBack();
    return decode(this.#mounted.method.input, bytes);
  }

  /** What still comes is read by nobody. */
  ignore(): void {
    this.#waiting.leave();
    this.#giveBack();
  }

  #giveBack(): void {
    const bytes = this.#owed;
    this.#owed = 0;
    this.#stream.consumed(bytes);
  }

  #wait(room: () => void): void {
    if (this.#over || this.#unsent < UNSENT_BYTES_MAX) room();
    else this.#onRoom = room;
  }

  #answer(frames: Buffer): void {
    if (this.#over) return;
    if (!this.#headSent) this.#stream.sendHead(ANSWER_HEAD);
    this.#headSent = true;
    this.#unsent += frames.length;
    this.#stream.write(frames);
  }

  /** Once. Its status is told, and a peer that still sends is told to stop. */
  #end(error: StatusError | null): void {
    if (this.#over) return;
    this.#finish();
    const trailers = trailersOf(error);
    if (this.#headSent) this.#stream.end(trailers);
    else this.#stream.sendHead([...ANSWER_HEAD, ...trailers], true);
    this.#stream.dismiss();
  }

  endStreaming(error: StatusError): void {
    if (answersStream(this.#mounted.method)) this.#cut(error);
  }

  #late(): void {
    this.#cut(new StatusError("DEADLINE_EXCEEDED", "", "it took longer than its caller waits"));
  }

  #cut(error: StatusError): void {
    this.#end(error);
    this.#breakOff();
  }

  #finish(): void {
    this.#over = true;
    this.#timer?.cancel();
    this.#waiting.end();
    this.#room();
  }

  #room(): void {
    this.#onRoom?.();
    this.#onRoom = null;
  }

  /** Nobody waits for the answer any more: whoever makes it is told, and what was begun is ended. */
  #breakOff(): void {
    this.#aborted = true;
    this.#abort?.abort();
    this.#leave();
  }

  #leave(): void {
    this.#tail?.queue.leave();
    this.#tailDone();
    // Not awaited: its owner may be waiting for something that never comes.
    Promise.resolve(this.#answers?.return?.()).catch(() => {});
  }

  #tailDone(): void {
    const tail = this.#tail;
    this.#tail = null;
    try {
      tail?.done();
    } catch (error) {
      this.#told(error);
    }
  }

  #told(error: unknown): StatusError {
    return told(error, this.#aborted, pathOf(this.#mounted.method), this.#ground.onFault);
  }

  // What its tail tells.

  take(answer: unknown): boolean {
    try {
      this.#answer(framesOf(this.#mounted.method.output, answer));
    } catch (error) {
      this.#end(this.#told(error));
      this.#leave();
    }
    return this.#unsent < UNSENT_BYTES_MAX;
  }

  over(failure: { readonly error: unknown } | null): void {
    this.#end(failure === null ? null : this.#told(failure.error));
    this.#tailDone();
  }

  // What the stream tells.

  data(chunk: Buffer): void {
    if (this.#over || this.#reader === null || this.#waiting.ended) {
      this.#stream.consumed(chunk.length);
      return;
    }
    this.#owed += chunk.length;
    const flaw = this.#reader.push(chunk);
    if (flaw !== null) {
      this.#waiting.fail(FLAWS[flaw]());
      this.#giveBack();
      return;
    }
    // A message may be longer than the window: what is not whole yet is given back.
    if (this.#waiting.length === 0) this.#giveBack();
  }

  message(bytes: Uint8Array): void {
    this.#waiting.push(bytes);
  }

  ended(): void {
    const torn = (this.#reader?.held ?? 0) > 0;
    if (torn) this.#waiting.fail(new StatusError("INTERNAL", "", "the last message is torn"));
    else this.#waiting.end();
  }

  reset(): void {
    if (this.#over) return;
    // Nothing is told any more, whatever its reader makes of it.
    this.#over = true;
    this.#waiting.fail(CANCELLED);
    this.#finish();
    this.#breakOff();
  }

  sent(bytes: number): void {
    this.#unsent -= bytes;
    if (this.#unsent >= UNSENT_BYTES_MAX) return;
    this.#room();
    this.#tail?.queue.resume();
  }

  head(): void {}
  informational(): void {}
  finished(): void {}
}

/** Hands messages over, one after the other. */
class Each implements Sink<Uint8Array> {
  readonly #call: Call;
  readonly #take: (message: unknown) => Promise<void> | void;
  readonly #over: (error: unknown) => void;

  constructor(
    call: Call,
    take: (message: unknown) => Promise<void> | void,
    over: (error: unknown) => void,
  ) {
    this.#call = call;
    this.#take = take;
    this.#over = over;
  }

  take(bytes: Uint8Array): boolean {
    try {
      const work = this.#take(this.#call.read(bytes));
      if (work === undefined) return true;
      work.then(
        () => this.#call.more(),
        (error: unknown) => this.#fail(error),
      );
    } catch (error) {
      this.#fail(error);
    }
    return false;
  }

  over(failure: { readonly error: unknown } | null): void {
    this.#over(failure === null ? null : failure.error);
  }

  #fail(error: unknown): void {
    this.#call.ignore();
    this.#over(error);
  }
}

/** One for all: when a network breaks, thousands of streams end in the same moment. */
const CANCELLED = new StatusError("CANCELLED", "", "cancelled");

/** The one message of a call that sends one. */
async function only(requests: AsyncIterable<unknown>): Promise<unknown> {
  const all = requests[Symbol.asyncIterator]();
  const first = await all.next();
  if (!first.done && (await all.next()).done) return first.value;
  throw new StatusError("UNIMPLEMENTED", "", "this method takes exactly one message");
}

const FLAWS: Readonly<Record<FrameFlaw, () => StatusError>> = {
  COMPRESSED: () =>
    new StatusError("UNIMPLEMENTED", "", "messages are not taken compressed: send identity"),
  TOO_LONG: () =>
    new StatusError("RESOURCE_EXHAUSTED", "", "a message is longer than this method takes"),
};
