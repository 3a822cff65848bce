import type { DescMessage } from "@bufbuild/protobuf";
import type { RawHeaders } from "../h2/fields.ts";
import type { H2Stream, StreamListener } from "../h2/stream.ts";
import { framesOf } from "./encoded.ts";
import { ANSWER_HEAD, fieldOf, metadataOf, timeoutOf, trailersOf } from "./grpc-fields.ts";
import { type FrameFlaw, MessageReader } from "./grpc-frames.ts";
import { decode, type MountedMethod } from "./messages.ts";
import { Queue } from "./queue.ts";
import { answersStream, type CallContext, type CallHead, sendsStream } from "./rpc.ts";
import { StatusError } from "./status.ts";
import { type CallFault, told } from "./told.ts";

/** What a call needs to know of the connection that it came on, and of the server. */
export interface CallGround {
  readonly methods: ReadonlyMap<string, MountedMethod>;
  /** Bytes of one message, where its method has no limit of its own. */
  readonly messageBytesMax: number;
  /** `address:port` of the other side. */
  readonly peer: string;
  /** The certificate that it showed, DER. */
  readonly certificate: Uint8Array;
  readonly onFault: CallFault;
  /** Calls back once after `us` microseconds. */
  readonly after: (us: number, fn: () => void) => { cancel(): void };
}

/** Answers of one call that have not left: from so many bytes on the next is not asked for. */
const UNSENT_BYTES_MAX = 64 * 1024;
/** Messages that wait to be asked for: no more come than the stream's window has room for. */
const WAITING_MAX = Number.POSITIVE_INFINITY;

/** A stream that asks for something, served to its end. */
export function serveCall(
  ground: CallGround,
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
  const mounted = ground.methods.get(fieldOf(fields, ":path") ?? "");
  new Call(ground, stream, mounted ?? null, fields).begin(last);
}

/** The HTTP status of what is no gRPC; null: it is. */
function notGrpc(fields: RawHeaders): string | null {
  if (fieldOf(fields, ":method") !== "POST") return "405";
  return /^application\/grpc(?:$|[+;])/.test(fieldOf(fields, "content-type") ?? "") ? null : "415";
}

class Call implements StreamListener {
  readonly #ground: CallGround;
  readonly #stream: H2Stream;
  readonly #mounted: MountedMethod | null;
  readonly #fields: RawHeaders;
  readonly #abort = new AbortController();
  readonly #waiting = new Queue<Uint8Array>(WAITING_MAX);
  #reader: MessageReader | null = null;
  /** Bytes of messages that wait, which the peer is not given back. */
  #owed = 0;
  #headSent = false;
  #over = false;
  #unsent = 0;
  #onRoom: (() => void) | null = null;
  #timer: { cancel(): void } | null = null;
  /** Where its answers come from. */
  #answers: AsyncIterator<unknown> | null = null;

  constructor(
    ground: CallGround,
    stream: H2Stream,
    mounted: MountedMethod | null,
    fields: RawHeaders,
  ) {
    this.#ground = ground;
    this.#stream = stream;
    this.#mounted = mounted;
    this.#fields = fields;
    stream.listener = this;
  }

  begin(last: boolean): void {
    const { peer, certificate, after, messageBytesMax } = this.#ground;
    const mounted = this.#mounted;
    const timeoutUs = timeoutOf(this.#fields);
    if (mounted === null || timeoutUs === null) {
      const wrong = mounted === null ? "there is no such method" : "grpc-timeout is malformed";
      this.#end(new StatusError(mounted === null ? "UNIMPLEMENTED" : "INTERNAL", "", wrong));
      return;
    }
    const head: CallHead = { metadata: metadataOf(this.#fields), peer, certificate };
    let caller: unknown;
    try {
      caller = mounted.entry?.admit(head);
    } catch (error) {
      this.#end(this.#told(error));
      return;
    }
    this.#reader = new MessageReader(mounted.entry?.messageBytesMax ?? messageBytesMax, (m) =>
      this.#waiting.push(m),
    );
    let deadlineUs = Number.POSITIVE_INFINITY;
    if (timeoutUs !== Number.POSITIVE_INFINITY) {
      deadlineUs = Date.now() * 1000 + timeoutUs;
      this.#timer = after(timeoutUs, () => this.#late());
    }
    if (last) this.#waiting.end();
    const context: CallContext = { ...head, caller, signal: this.#abort.signal, deadlineUs };
    this.#run(mounted, context).then(
      () => this.#end(null),
      (error: unknown) => this.#end(this.#told(error)),
    );
  }

  async #run({ method, handler }: MountedMethod, context: CallContext): Promise<void> {
    const requests = this.#requests(method.input);
    const request = sendsStream(method) ? requests : await only(requests);
    if (!answersStream(method)) {
      this.#answer(framesOf(method.output, await handler(request, context)));
      return;
    }
    const stream = handler(request, context) as AsyncIterable<unknown>;
    this.#answers = stream[Symbol.asyncIterator]();
    while (!this.#over) {
      const step = await this.#answers.next();
      if (step.done || this.#over) return;
      this.#answer(framesOf(method.output, step.value));
      if (this.#unsent >= UNSENT_BYTES_MAX) await new Promise<void>((room) => this.#wait(room));
    }
  }

  /** Leaving the loop over it leaves the stream to answer on. */
  #requests(desc: DescMessage): AsyncIterable<unknown> {
    const waiting = this.#waiting[Symbol.asyncIterator]();
    const next = async (): Promise<IteratorResult<unknown>> => {
      const { done, value } = await waiting.next();
      if (done) return { done, value };
      if (this.#waiting.length === 0) this.#giveBack();
      return { done: false, value: decode(desc, value) };
    };
    const leave = async (): Promise<IteratorResult<unknown>> => {
      await waiting.return?.();
      this.#giveBack();
      return { done: true, value: undefined };
    };
    return { [Symbol.asyncIterator]: () => ({ next, return: leave }) };
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

  #late(): void {
    this.#end(new StatusError("DEADLINE_EXCEEDED", "", "it took longer than its caller waits"));
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
    this.#abort.abort();
    this.#leave();
  }

  /** Not awaited: its owner may be waiting for something that never comes. */
  #leave(): void {
    Promise.resolve(this.#answers?.return?.()).catch(() => {});
  }

  #told(error: unknown): StatusError {
    const path = fieldOf(this.#fields, ":path") ?? "";
    return told(error, this.#abort.signal.aborted, path, this.#ground.onFault);
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

  ended(): void {
    const torn = (this.#reader?.held ?? 0) > 0;
    if (torn) this.#waiting.fail(new StatusError("INTERNAL", "", "the last message is torn"));
    else this.#waiting.end();
  }

  reset(): void {
    if (this.#over) return;
    this.#waiting.fail(new StatusError("CANCELLED", "", "cancelled"));
    this.#finish();
    this.#breakOff();
  }

  sent(bytes: number): void {
    this.#unsent -= bytes;
    if (this.#unsent < UNSENT_BYTES_MAX) this.#room();
  }

  head(): void {}
  informational(): void {}
  finished(): void {}
}

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
