import type {
  DescMessage,
  DescMethod,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { Encoded } from "./encoded.ts";
import type { Tail } from "./tail.ts";

/** The shapes that handlers and clients are written in. What carries them is no concern of theirs. */

/** Metadata of a call. Names are lower case; those that end in `-bin` hold bytes. */
export interface CallMetadata {
  text(name: string): string | undefined;
  binary(name: string): Uint8Array | undefined;
}

/** What is known of a call as soon as its headers are there. */
export interface CallHead {
  readonly metadata: CallMetadata;
  /** Address of the other side: `127.0.0.1:40022`. */
  readonly peer: string;
  /** The certificate that the other side showed on this connection and that TLS verified, DER. */
  readonly certificate: Uint8Array | null;
}

/** How calls of one method are let in: by their headers, before anything else of them is read. */
export interface Entry {
  /** Returns what `CallContext.caller` is to say. Throws StatusError to refuse the call. */
  readonly admit: (head: CallHead) => unknown;
  /** Bytes of one message to this method; null: as the server's. */
  readonly messageBytesMax: number | null;
}

export interface CallContext extends CallHead {
  /** Whom the method's entry let in; undefined: it has none. */
  readonly caller: unknown;
  /** Aborts when nobody waits for the answer any more: cancelled, past its deadline, cut off. */
  readonly signal: AbortSignal;
  /** When it must be done by, microseconds since the epoch; Infinity: no deadline was given. */
  readonly deadlineUs: number;
}

export interface CallOptions {
  readonly metadata?: Readonly<Record<string, string | Uint8Array>>;
  /** Aborting it cancels the call. */
  readonly signal?: AbortSignal;
  /** Microseconds from now; without one the call may take for ever. */
  readonly timeoutUs?: number;
}

type Methods<S extends DescService> = S["method"];
type In<M> = M extends { input: infer I extends DescMessage } ? I : never;
type Out<M> = M extends { output: infer O extends DescMessage } ? O : never;
type Kind<M> = M extends { methodKind: infer K } ? K : never;

/** What a streaming handler yields: a message or, where many are told the same, what is encoded already. */
export type Answer<D extends DescMessage> = MessageInitShape<D> | Encoded<D>;

/** What a client streams: it is iterated, or handed over. */
export interface Requests<T> extends AsyncIterable<T, undefined> {
  /**
   * In place of iterating: `take` is given each message, and the next one when what it returned is done.
   * `over` is told once why there are no more: null, the client ended them; else what they failed with, or
   * what `take` threw. A stream that is read like this holds next to nothing while it waits.
   */
  each(take: (message: T) => Promise<void> | void, over: (error: unknown) => void): void;
}

/** What a streaming handler returns: its answers, or where the rest of them comes from. */
type Answers<D extends DescMessage> =
  | AsyncIterable<Answer<D>, void>
  | AsyncIterable<Answer<D>, Tail<D>>;

type Handler<M> =
  Kind<M> extends "unary"
    ? (request: MessageShape<In<M>>, context: CallContext) => Promise<MessageInitShape<Out<M>>>
    : Kind<M> extends "server_streaming"
      ? (request: MessageShape<In<M>>, context: CallContext) => Answers<Out<M>>
      : Kind<M> extends "client_streaming"
        ? (
            requests: Requests<MessageShape<In<M>>>,
            context: CallContext,
          ) => Promise<MessageInitShape<Out<M>>>
        : (requests: Requests<MessageShape<In<M>>>, context: CallContext) => Answers<Out<M>>;

/**
 * A service's implementation: one async function or generator an RPC, by its local name. Throws
 * StatusError for what the caller should know; anything else is a bug, told as INTERNAL.
 */
export type Handlers<S extends DescService> = { [K in keyof Methods<S>]: Handler<Methods<S>[K]> };

type Call<M> =
  Kind<M> extends "unary"
    ? (request: MessageInitShape<In<M>>, options?: CallOptions) => Promise<MessageShape<Out<M>>>
    : Kind<M> extends "server_streaming"
      ? (
          request: MessageInitShape<In<M>>,
          options?: CallOptions,
        ) => AsyncIterable<MessageShape<Out<M>>>
      : Kind<M> extends "client_streaming"
        ? (
            requests: AsyncIterable<MessageInitShape<In<M>>>,
            options?: CallOptions,
          ) => Promise<MessageShape<Out<M>>>
        : (
            requests: AsyncIterable<MessageInitShape<In<M>>>,
            options?: CallOptions,
          ) => AsyncIterable<MessageShape<Out<M>>>;

/**
 * A service as its clients call it. Rejects, or throws from the iteration, with StatusError. A call
 * of a streaming RPC begins when its answers are first asked for, and leaving the loop cancels it.
 */
export type RpcClient<S extends DescService> = { [K in keyof Methods<S>]: Call<Methods<S>[K]> };

export const sendsStream = (m: DescMethod): boolean =>
  m.methodKind === "client_streaming" || m.methodKind === "bidi_streaming";

export const answersStream = (m: DescMethod): boolean =>
  m.methodKind === "server_streaming" || m.methodKind === "bidi_streaming";
