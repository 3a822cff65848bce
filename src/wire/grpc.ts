import type {
  DescMessage,
  DescMethod,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import {
  type ChannelCredentials,
  Client,
  type ClientWritableStream,
  credentials,
  type CallOptions as GrpcCallOptions,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  ServerInterceptingCall,
  type ServerInterceptor,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type ServiceError,
  status,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { handshakeUs, waitingUsMax } from "../domain/limits.ts";
import type { H2Options } from "../h2/connection.ts";
import { framesOf } from "./encoded.ts";
import { H2Server, type H2Socket } from "./h2-server.ts";
import { decode, encode, type MountedMethod, pathOf } from "./messages.ts";
import {
  answersStream,
  type CallContext,
  type CallHead,
  type CallMetadata,
  type CallOptions,
  type Entry,
  type Handlers,
  type Requests,
  type RpcClient,
  sendsStream,
} from "./rpc.ts";
import { decodeStatus, encodeStatus, STATUS_CODES, STATUS_DETAILS, StatusError } from "./status.ts";
import { Tail } from "./tail.ts";
import { type CallFault, told } from "./told.ts";

/**
 * The one place that knows grpc-js. Handlers and clients are plain async functions and generators
 * over messages; no raw stream leaves this file. Messages cross grpc-js as bytes and are read here,
 * so that malformed ones are an answer to their sender and never a fault of the transport.
 */

// ---------------------------------------------------------------------------------------- messages

const raw = (bytes: Buffer): Buffer => bytes;

/** The same in memory of its own, and none of a pool that many share. */
function owning(bytes: Buffer): Buffer {
  const own = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(own);
  return own;
}

function write<D extends DescMessage>(desc: D, message: MessageInitShape<D>): Buffer {
  const bytes = encode(desc, message);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

async function* readAll<D extends DescMessage>(
  desc: D,
  stream: AsyncIterable<Uint8Array>,
): AsyncGenerator<MessageShape<D>, undefined> {
  for await (const bytes of stream) yield decode(desc, bytes);
}

function requestsOf<D extends DescMessage>(
  desc: D,
  stream: AsyncIterable<Uint8Array>,
): Requests<MessageShape<D>> {
  const messages = readAll(desc, stream);
  return {
    [Symbol.asyncIterator]: () => messages,
    each(take, over) {
      const all = async (): Promise<void> => {
        for await (const message of messages) await take(message);
      };
      all().then(() => over(null), over);
    },
  };
}

// ------------------------------------------------------------------------------------------ server

export interface ServerLimits {
  /** Bytes of one message, either way. */
  readonly messageBytesMax: number;
  readonly streamsPerConnectionMax: number;
  /** MB that one HTTP/2 session may hold. */
  readonly sessionMemoryMb: number;
  /** Microseconds after which a connection without calls is closed. */
  readonly idleUs: number;
  /** Microseconds after which a connection takes no new calls, and those under way get `ageGraceUs`. */
  readonly ageUs: number;
  readonly ageGraceUs: number;
  /** Microseconds between pings of a quiet peer, and how long it may take to answer. */
  readonly keepaliveUs: number;
  readonly keepaliveTimeoutUs: number;
}

export interface ServerOptions {
  /** What connections come by, and are timed by; null: plaintext, for loopback and unix sockets. */
  readonly transport: { readonly listener: Transport; readonly clock: H2Options["clock"] } | null;
  readonly limits: ServerLimits;
  readonly onFault: CallFault;
}

/** Accepts connections, and hands each over when it may begin with HTTP/2. */
export interface Transport {
  /** @param accept told each connection, with the certificate (DER) that it showed and TLS verified. */
  listen(
    address: string,
    accept: (connection: H2Socket, certificate: Uint8Array | null) => void,
  ): Promise<number>;
  /** Takes no more. Resolves when all that were handed over are gone. */
  close(): Promise<void>;
}

/** A gRPC server, made by `openServer`, filled by `serve`. */
export interface RpcServer {
  readonly grpc: Server;
  /** By their paths. */
  readonly methods: Map<string, MountedMethod>;
  readonly onFault: CallFault;
  /** Those that grpc-js carries. */
  readonly streams: Streams;
  /**
   * `127.0.0.1:0`, `[::1]:7443` or `unix:/path`. Resolves to the port bound (a unix socket: 1), once
   * connections are accepted. Services must be served before.
   */
  listen(address: string): Promise<number>;
  /** Takes no new calls, lets those under way end for up to `graceUs`, then cuts them. */
  close(graceUs: number): Promise<void>;
  /** Every stream of answers ends with this, those that begin from now on as well. */
  endStreams(error: StatusError): void;
}

const ms = (us: number): number => Math.ceil(us / 1000);

/**
 * One server for both kinds of caller: those who showed a certificate come by thousands and stay, and are
 * carried by our own HTTP/2; all others by grpc-js.
 */
export function openServer({ transport, limits, onFault }: ServerOptions): RpcServer {
  const methods = new Map<string, MountedMethod>();
  const { messageBytesMax } = limits;
  const ground = { methods, messageBytesMax, onFault };
  /** Connections that grpc-js did not accept itself. */
  const injected = new Set<H2Socket>();
  const streams = new Streams();
  const certified = transport && new H2Server(ground, limits, transport.clock);
  const grpc = new Server({
    interceptors: [entering(methods, onFault)],
    "grpc.max_receive_message_length": limits.messageBytesMax,
    "grpc.max_send_message_length": limits.messageBytesMax,
    "grpc.max_concurrent_streams": limits.streamsPerConnectionMax,
    "grpc-node.max_session_memory": limits.sessionMemoryMb,
    "grpc.max_connection_idle_ms": ms(limits.idleUs),
    "grpc.max_connection_age_ms": ms(limits.ageUs),
    "grpc.max_connection_age_grace_ms": ms(limits.ageGraceUs),
    "grpc.keepalive_time_ms": ms(limits.keepaliveUs),
    "grpc.keepalive_timeout_ms": ms(limits.keepaliveTimeoutUs),
  });
  // TLS, where there is any, is the transport's: grpc-js could neither ask for its newest version,
  // nor count handshakes, nor let strangers in beside those who show a certificate.
  const plain = ServerCredentials.createInsecure();
  return {
    grpc,
    methods,
    onFault,
    streams,
    endStreams(error) {
      streams.end(error);
      certified?.endStreams(error);
    },
    listen: (address) => {
      if (transport !== null && certified !== null) {
        const injector = grpc.createConnectionInjector(plain);
        return transport.listener.listen(address, (connection, certificate) => {
          if (certificate !== null) return certified.accept(connection, certificate);
          injected.add(connection);
          connection.once("close", () => injected.delete(connection));
          injector.injectConnection(connection);
        });
      }
      return new Promise((resolve, reject) => {
        grpc.bindAsync(address, plain, (error, port) => (error ? reject(error) : resolve(port)));
      });
    },
    async close(graceUs) {
      const cut = setTimeout(() => {
        grpc.forceShutdown();
        // Of these it only said goodbye, and a peer that reads nothing never answers.
        for (const connection of injected) connection.destroy();
      }, ms(graceUs));
      certified?.close(graceUs);
      const shut = new Promise<void>((resolve) => grpc.tryShutdown(() => resolve()));
      // Of connections that it did not accept itself, grpc-js says too early that they are gone.
      await Promise.all([shut, transport?.listener.close()]);
      clearTimeout(cut);
    },
  };
}

/** Calls that stream their answers by grpc-js: what ends each of them. */
class Streams {
  readonly #open = new Set<AbortController>();
  #ended: StatusError | null = null;

  /** @throws StatusError when there are to be no more. */
  begin(): AbortController {
    if (this.#ended !== null) throw this.#ended;
    const abort = new AbortController();
    this.#open.add(abort);
    return abort;
  }

  over(abort: AbortController): void {
    this.#open.delete(abort);
  }

  end(error: StatusError): void {
    this.#ended = error;
    for (const abort of this.#open) abort.abort(error);
  }
}

/** What was found out about a call at its headers. */
const entered = new WeakMap<Metadata, CallHead & { readonly caller: unknown }>();

/**
 * Asks each call's entry at its headers. Until it is let in nothing of its messages is read: what a
 * stranger sends is held back by flow control, and costs no memory.
 */
function entering(
  methods: ReadonlyMap<string, MountedMethod>,
  onFault: CallFault,
): ServerInterceptor {
  return ({ path }, call) => {
    const entry = methods.get(path)?.entry;
    takeFrames(call);
    if (typeof entry?.messageBytesMax === "number") limitMessages(call, entry.messageBytesMax);
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata(metadata, pass) {
            const head = {
              metadata: metadataOf(metadata),
              peer: call.getPeer(),
              certificate: null,
            };
            try {
              entered.set(metadata, { ...head, caller: entry?.admit(head) });
            } catch (error) {
              call.sendStatus(wireError(told(error, false, path, onFault)));
              return;
            }
            pass(metadata);
          },
          onReceiveHalfClose(pass) {
            forgetChunks(call);
            pass();
          },
        }),
    });
  };
}

/**
 * grpc-js knows one limit for all methods, of which each call has a copy: for what it takes from the
 * wire, and for what it makes of it.
 */
function limitMessages(call: object, bytesMax: number): void {
  const own = call as { maxReceiveMessageSize: number; decoder: { maxReadMessageLength: number } };
  own.maxReceiveMessageSize = bytesMax;
  own.decoder.maxReadMessageLength = bytesMax;
}

/**
 * Once the other side has ended: what was read of it is a view of the chunk that it came in, 64 KiB with
 * others' messages, which a stream that is watched for hours would keep.
 */
function forgetChunks(call: object): void {
  const { decoder } = call as {
    decoder: { readCompressFlag: Buffer; readPartialMessage: Buffer[] };
  };
  decoder.readCompressFlag = NOTHING;
  decoder.readPartialMessage = [];
}

const NOTHING = Buffer.alloc(0);

/** It is given answers framed, several at once if need be: each write costs more than what it writes. */
function takeFrames(call: object): void {
  (call as { serializeMessage(frames: Buffer): Buffer }).serializeMessage = raw;
}

type AnyHandlers = Record<string, MountedMethod["handler"]>;
type UnaryCall = ServerUnaryCall<Buffer, Buffer>;
type WritableCall = ServerWritableStream<Buffer, Buffer>;
type DuplexCall = ServerDuplexStream<Buffer, Buffer>;

/** Mounts a service's handlers on a server. Without entries everybody is let in. */
export function serve<S extends DescService>(
  server: RpcServer,
  service: S,
  handlers: Handlers<S>,
  entryOf?: (method: DescMethod) => Entry,
): void {
  const definition: Record<string, unknown> = {};
  const mounted: Record<string, unknown> = {};
  for (const method of service.methods) {
    const handler = (handlers as unknown as AnyHandlers)[method.localName];
    if (handler === undefined) throw new TypeError(`${service.typeName} lacks ${method.name}`);
    definition[method.localName] = {
      path: pathOf(method),
      originalName: method.name,
      requestStream: sendsStream(method),
      responseStream: answersStream(method),
      requestSerialize: raw,
      // The one request of a stream is kept as long as that.
      requestDeserialize: answersStream(method) && !sendsStream(method) ? owning : raw,
      responseSerialize: raw,
      responseDeserialize: raw,
    };
    mounted[method.localName] = mount(server, method, handler);
    const entry = entryOf === undefined ? null : entryOf(method);
    server.methods.set(pathOf(method), { method, handler, entry });
  }
  server.grpc.addService(
    definition as ServiceDefinition,
    mounted as unknown as UntypedServiceImplementation,
  );
}

function mount(server: RpcServer, method: DescMethod, handler: AnyHandlers[string]) {
  const failed = (error: unknown, aborted: boolean) => {
    // Too long a message, or a frame that gRPC itself refuses: the transport's own word.
    const said = !aborted && isServiceError(error) ? fromGrpc(error) : error;
    return wireError(told(said, aborted, pathOf(method), server.onFault));
  };
  const requestOf = (call: UnaryCall | WritableCall | DuplexCall) =>
    sendsStream(method)
      ? // Ending the iteration must leave the stream to answer on: see grpc/grpc-node#1839.
        requestsOf(method.input, (call as DuplexCall).iterator({ destroyOnReturn: false }))
      : decode(method.input, (call as UnaryCall).request);

  if (!answersStream(method)) {
    return async (call: UnaryCall, done: (error: unknown, answer?: Buffer) => void) => {
      const context = contextOf(call, new AbortController());
      try {
        const answer = await handler?.(requestOf(call), context);
        done(null, framesOf(method.output, answer));
      } catch (error) {
        done(failed(error, context.signal.aborted));
      }
    };
  }
  return async (call: WritableCall | DuplexCall) => {
    let abort: AbortController | null = null;
    let answers: Answered | null = null;
    // A call that broke off is known by its signal; without a listener it would be a crash.
    call.on("error", () => {});
    try {
      abort = server.streams.begin();
      const context = contextOf(call, abort);
      answers = new Answered(handler?.(requestOf(call), context) as AsyncIterable<unknown>);
      await pump(call, (answer) => framesOf(method.output, answer), answers, abort.signal);
      call.end();
    } catch (error) {
      call.emit("error", failed(error, abort?.signal.aborted ?? false));
    } finally {
      if (abort !== null) server.streams.over(abort);
      void answers?.return();
    }
  };
}

/** What a handler answers, and after it what is left of it. */
class Answered implements AsyncIterable<unknown>, AsyncIterator<unknown> {
  #from: AsyncIterator<unknown>;
  #tail: Tail | null = null;
  #left = false;

  constructor(answers: AsyncIterable<unknown>) {
    this.#from = answers[Symbol.asyncIterator]();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<unknown>> {
    const { done, value } = await this.#from.next();
    if (!done || !(value instanceof Tail)) return { done: done ?? false, value };
    this.#tail = value;
    this.#from = value.queue;
    // Nobody waited any more when its handler came to its end.
    if (this.#left) value.leave();
    return this.#from.next();
  }

  /** Nobody waits for more, or there is no more. */
  return(): Promise<IteratorResult<unknown>> {
    if (!this.#left) {
      this.#left = true;
      this.#tail?.leave();
      // Not awaited: its owner may be waiting for something that never comes.
      if (this.#tail === null) Promise.resolve(this.#from.return?.()).catch(() => {});
    }
    return Promise.resolve({ done: true, value: undefined });
  }
}

/** Bytes of one stream that wait to be sent: from so many on the next message is not asked for. */
const UNSENT_BYTES_MAX = 8 * 1024;

/** Writes messages as fast as the other side takes them; stops at once when nobody waits for them. */
async function pump(
  call: Sink,
  bytesOf: (message: unknown) => Buffer,
  messages: AsyncIterable<unknown>,
  signal: AbortSignal,
): Promise<void> {
  const iterator = messages[Symbol.asyncIterator]();
  const aborted = new Aborted(signal);
  let unsent = 0;
  let room = (): void => {};
  try {
    for (;;) {
      const step = await aborted.or(iterator.next());
      if (step === ABORTED) {
        // Not awaited: its owner may be waiting for something that never comes.
        Promise.resolve(iterator.return?.()).catch(() => {});
        const { reason } = signal;
        throw reason instanceof StatusError
          ? reason
          : new StatusError("CANCELLED", "", "cancelled");
      }
      if (step.done) return;
      const bytes = bytesOf(step.value);
      unsent += bytes.length;
      call.write(bytes, () => {
        unsent -= bytes.length;
        if (unsent < UNSENT_BYTES_MAX) room();
      });
      if (unsent >= UNSENT_BYTES_MAX) {
        await aborted.or(
          new Promise<void>((resolve) => {
            room = resolve;
          }),
        );
      }
    }
  } finally {
    aborted.leave();
  }
}

const ABORTED = Symbol("aborted");

/** Waits for a signal beside one thing after another. There is one a stream, which may live for weeks. */
class Aborted {
  readonly #signal: AbortSignal;
  readonly #stop = (): void => this.#told?.(ABORTED);
  #told: ((aborted: typeof ABORTED) => void) | null = null;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", this.#stop, { once: true });
  }

  /** The work or the abort, whichever is first. Leaves nothing behind. */
  or<T>(work: Promise<T>): Promise<T | typeof ABORTED> {
    if (this.#signal.aborted) {
      work.catch(() => {});
      return Promise.resolve(ABORTED);
    }
    return new Promise((resolve, reject) => {
      this.#told = resolve;
      work.then(resolve, reject);
    });
  }

  leave(): void {
    this.#signal.removeEventListener("abort", this.#stop);
  }
}

interface Sink {
  /** @param sent called once they have left for the other side */
  write(bytes: Buffer, sent: () => void): unknown;
}

function contextOf(
  call: UnaryCall | WritableCall | DuplexCall,
  abort: AbortController,
): CallContext {
  if (call.cancelled) abort.abort();
  (call as NodeJS.EventEmitter).on("cancelled", () => abort.abort());
  const deadline = call.getDeadline();
  const head = entered.get(call.metadata);
  if (head === undefined) throw new Error("a call that passed no entry");
  return {
    ...head,
    signal: abort.signal,
    deadlineUs: (deadline instanceof Date ? deadline.getTime() : deadline) * 1000,
  };
}

const metadataOf = (metadata: Metadata): CallMetadata => ({
  text(name) {
    const value = metadata.get(name)[0];
    return typeof value === "string" ? value : undefined;
  },
  binary(name) {
    const value = metadata.get(name)[0];
    return value instanceof Buffer ? new Uint8Array(value) : undefined;
  },
});

function wireError(error: StatusError) {
  const metadata = new Metadata();
  metadata.set(STATUS_DETAILS, Buffer.from(encodeStatus(error)));
  return { code: STATUS_CODES.indexOf(error.code), details: error.message, metadata };
}

// ------------------------------------------------------------------------------------------ client

export interface ChannelOptions {
  /** `host:port`, or `unix:/path`. */
  readonly address: string;
  /**
   * PEM of the authority that the server's certificate must come from, and of a certificate of one's
   * own with its key where one is shown. null: plaintext.
   */
  readonly tls: {
    readonly ca: Uint8Array;
    readonly certificate?: { readonly certPem: string; readonly keyPem: string };
  } | null;
  /** Bytes of one message, either way. */
  readonly messageBytesMax: number;
  /** Microseconds between pings while calls are under way, and how long an answer may take. */
  readonly keepaliveUs: number;
  readonly keepaliveTimeoutUs: number;
  /** Microseconds for TLS to come about; absent: as long as a control plane may let anybody wait for it. */
  readonly connectUs?: number;
}

/** A connection to a server, dialled when first used and again when it is lost. */
export interface RpcChannel {
  readonly grpc: Client;
  close(): void;
}

export function openChannel(options: ChannelOptions): RpcChannel {
  const secrets = options.tls
    ? inTime(clientTls(options.tls), options.connectUs ?? waitingUsMax + handshakeUs)
    : credentials.createInsecure();
  const grpc = new Client(options.address, secrets, {
    "grpc.max_receive_message_length": options.messageBytesMax,
    "grpc.max_send_message_length": options.messageBytesMax,
    "grpc.keepalive_time_ms": ms(options.keepaliveUs),
    "grpc.keepalive_timeout_ms": ms(options.keepaliveTimeoutUs),
    // TLS knows no server name that is an address; ours has `localhost` in every certificate.
    ...(isLoopback(options.address) ? { "grpc.ssl_target_name_override": "localhost" } : {}),
    // Ours alone: channels to one address would otherwise share a connection, and its end.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_retries": 0,
    // A sidecar's agent may have set these for itself; they must never lead us through ourselves.
    "grpc.enable_http_proxy": 0,
    "grpc.max_reconnect_backoff_ms": 5_000,
  });
  return { grpc, close: () => grpc.close() };
}

function clientTls({ ca, certificate }: NonNullable<ChannelOptions["tls"]>) {
  const own = certificate && [Buffer.from(certificate.keyPem), Buffer.from(certificate.certPem)];
  return credentials.createSsl(Buffer.from(ca), ...(own ?? []));
}

/**
 * Ends connections on which TLS does not come about in time: a network can go dark in the middle of it, and
 * grpc-js would wait for good.
 */
function inTime(secrets: ChannelCredentials, us: number): ChannelCredentials {
  const connectorOf = secrets._createSecureConnector.bind(secrets);
  secrets._createSecureConnector = (...of) => {
    const connector = connectorOf(...of);
    const connect = connector.connect.bind(connector);
    connector.connect = async (socket) => {
      const late = setTimeout(
        () => socket.destroy(new Error("TLS was not answered in time")),
        ms(us),
      );
      late.unref();
      return connect(socket).finally(() => clearTimeout(late));
    };
    return connector;
  };
  return secrets;
}

const isLoopback = (address: string): boolean => /^(?:127\.[0-9.]+|\[::1\]):\d+$/.test(address);

/** A typed client of one service. */
export function createClient<S extends DescService>(service: S, channel: RpcChannel): RpcClient<S> {
  const calls = service.methods.map((m) => [m.localName, callOf(channel.grpc, m)] as const);
  return Object.fromEntries(calls) as unknown as RpcClient<S>;
}

function callOf(client: Client, method: DescMethod) {
  const path = pathOf(method);
  if (!sendsStream(method) && !answersStream(method)) {
    return (request: unknown, options: CallOptions = {}) =>
      answerOf(method, options, (metadata, call, done) =>
        client.makeUnaryRequest(
          path,
          raw,
          raw,
          write(method.input, request as never),
          metadata,
          call,
          done,
        ),
      );
  }
  if (!answersStream(method)) {
    return (requests: AsyncIterable<unknown>, options: CallOptions = {}) =>
      answerOf(method, options, (metadata, call, done) => {
        const stream = client.makeClientStreamRequest(path, raw, raw, metadata, call, done);
        void send(stream, method.input, requests);
        return stream;
      });
  }
  return async function* (request: unknown, options: CallOptions = {}) {
    const { metadata, call } = callOptions(options);
    options.signal?.throwIfAborted();
    const stream = sendsStream(method)
      ? client.makeBidiStreamRequest(path, raw, raw, metadata, call)
      : client.makeServerStreamRequest(
          path,
          raw,
          raw,
          write(method.input, request as never),
          metadata,
          call,
        );
    const cancel = () => stream.cancel();
    options.signal?.addEventListener("abort", cancel, { once: true });
    // It may fail between two reads, when nobody listens; the next read tells of it.
    stream.on("error", () => {});
    if (sendsStream(method)) {
      void send(
        stream as unknown as ClientWritableStream<Buffer>,
        method.input,
        request as AsyncIterable<unknown>,
      );
    }
    try {
      yield* readAll(method.output, stream.iterator({ destroyOnReturn: false }));
    } catch (error) {
      throw isServiceError(error) ? fromGrpc(error) : error;
    } finally {
      options.signal?.removeEventListener("abort", cancel);
      stream.cancel();
    }
  };
}

type Done = (error: ServiceError | null, answer?: Buffer) => void;

function answerOf(
  method: DescMethod,
  options: CallOptions,
  begin: (metadata: Metadata, call: GrpcCallOptions, done: Done) => { cancel(): void },
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const { metadata, call } = callOptions(options);
    options.signal?.throwIfAborted();
    const under = begin(metadata, call, (error, answer) => {
      options.signal?.removeEventListener("abort", cancel);
      if (error) return reject(fromGrpc(error));
      try {
        resolve(decode(method.output, answer as Buffer));
      } catch (unreadable) {
        reject(unreadable);
      }
    });
    const cancel = () => under.cancel();
    options.signal?.addEventListener("abort", cancel, { once: true });
  });
}

/** Sends requests as fast as they are taken; a source that fails cancels the call. */
async function send(
  stream: ClientWritableStream<Buffer>,
  desc: DescMessage,
  requests: AsyncIterable<unknown>,
): Promise<void> {
  const over = new AbortController();
  for (const event of ["close", "error", "status"]) stream.once(event, () => over.abort());
  try {
    await pump(stream, (request) => write(desc, request as never), requests, over.signal);
    stream.end();
  } catch {
    stream.cancel();
  }
}

function callOptions(options: CallOptions) {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(options.metadata ?? {})) {
    metadata.set(name, typeof value === "string" ? value : Buffer.from(value));
  }
  const call: GrpcCallOptions =
    options.timeoutUs === undefined ? {} : { deadline: Date.now() + ms(options.timeoutUs) };
  return { metadata, call };
}

// ------------------------------------------------------------------------------------------ shared

const isServiceError = (error: unknown): error is ServiceError =>
  error instanceof Error && "code" in error && typeof error.code === "number" && "details" in error;

function fromGrpc(error: ServiceError): StatusError {
  const details = error.metadata?.get(STATUS_DETAILS)[0];
  const bytes = details instanceof Buffer ? new Uint8Array(details) : null;
  return decodeStatus(error.code ?? status.UNKNOWN, error.details ?? "", bytes);
}
