import { H2Connection, type H2Options } from "../h2/connection.ts";
import type { RawHeaders } from "../h2/fields.ts";
import type { H2Stream } from "../h2/stream.ts";
import { type CallGround, type CallPeer, endStreaming, serveCall } from "./h2-call.ts";
import type { StatusError } from "./status.ts";

/** A connection that may begin with HTTP/2, and where it comes from. */
export type H2Socket = ConstructorParameters<typeof H2Connection>[0] & {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
};

/** How long connections live. Microseconds. */
export interface ConnectionTimes {
  /** Without calls, it is closed. */
  readonly idleUs: number;
  /** It takes no new calls, and those under way get `ageGraceUs`. */
  readonly ageUs: number;
  readonly ageGraceUs: number;
  /** A peer that is quiet for so long is pinged, and how long it may take to answer. */
  readonly keepaliveUs: number;
  readonly keepaliveTimeoutUs: number;
}

type Clock = H2Options["clock"];

/**
 * One connection, and what is looked at of it now and then: it has no timer of its own, for there are
 * thousands.
 */
class Carried implements H2Options, CallPeer {
  readonly role = "server";
  readonly headerTable = false;
  readonly ground: CallGround;
  readonly clock: Clock;
  readonly peer: string;
  readonly certificate: Uint8Array;
  readonly connection: H2Connection;
  readonly #all: Set<Carried>;
  readonly bornUs: number;
  /** Of the connection, when it was looked at last. */
  heard = 0;
  /** Since when it is seen to say nothing, and to carry no call. */
  quietUs: number;
  idleUs: number;
  /** Looks since it was pinged; 0: it has spoken since. Not a time, which a stall of ours would run out. */
  unheard = 0;
  /** When it was told that it takes no more calls; 0: it does. */
  drainedUs = 0;

  /** @param all where it stands while it lives. */
  constructor(
    ground: CallGround,
    clock: Clock,
    socket: H2Socket,
    certificate: Uint8Array,
    all: Set<Carried>,
  ) {
    const nowUs = clock.monotonicUs();
    this.ground = ground;
    this.clock = clock;
    this.peer = `${socket.remoteAddress}:${socket.remotePort}`;
    this.certificate = certificate;
    this.bornUs = nowUs;
    this.quietUs = nowUs;
    this.idleUs = nowUs;
    this.#all = all;
    all.add(this);
    this.connection = new H2Connection(socket, this);
  }

  onStream(stream: H2Stream, fields: RawHeaders, last: boolean): void {
    serveCall(this, stream, fields, last);
  }

  onClose(): void {
    this.#all.delete(this);
  }
}

/**
 * gRPC over our own HTTP/2 (ADR 26): for the thousands of connections that stay. One takes some 40 KB
 * less than by grpc-js, and its messages a third of the time.
 */
export class H2Server {
  readonly #ground: CallGround;
  readonly #times: ConnectionTimes;
  readonly #clock: Clock;
  /** How often connections are looked at. */
  readonly #lookUs: number;
  readonly #connections = new Set<Carried>();
  #looking: { cancel(): void } | null = null;
  #closing = false;
  #streamsEnd: StatusError | null = null;

  constructor(
    ground: Omit<CallGround, "after" | "streamsEnd">,
    times: ConnectionTimes,
    clock: Clock,
  ) {
    const { idleUs, ageUs, ageGraceUs, keepaliveUs, keepaliveTimeoutUs } = times;
    const after: CallGround["after"] = (us, fn) => clock.after(us, fn);
    this.#ground = { ...ground, after, streamsEnd: () => this.#streamsEnd };
    this.#times = times;
    this.#lookUs = Math.min(idleUs, ageUs, ageGraceUs, keepaliveUs, keepaliveTimeoutUs) / 2;
    this.#clock = clock;
  }

  /** @param certificate what the other side showed and TLS verified, DER. */
  accept(socket: H2Socket, certificate: Uint8Array): void {
    const { connection } = new Carried(
      this.#ground,
      this.#clock,
      socket,
      certificate,
      this.#connections,
    );
    if (this.#looking === null) this.#lookLater();
    // It shook hands while the server began to end.
    if (this.#closing) connection.drain();
  }

  /** Every stream of answers ends with this, those that begin from now on as well. */
  endStreams(error: StatusError): void {
    this.#streamsEnd = error;
    for (const { connection } of this.#connections) {
      for (const stream of connection.openStreams()) endStreaming(stream, error);
    }
  }

  /** Takes no new calls; those under way have `graceUs` to end. */
  close(graceUs: number): void {
    this.#closing = true;
    for (const { connection } of this.#connections) connection.drain();
    this.#clock.after(graceUs, () => {
      for (const { connection } of [...this.#connections]) connection.destroy();
    });
  }

  #lookLater(): void {
    this.#looking = this.#clock.after(this.#lookUs, () => {
      this.#looking = null;
      const nowUs = this.#clock.monotonicUs();
      for (const carried of this.#connections) this.#look(carried, nowUs);
      if (this.#connections.size > 0) this.#lookLater();
    });
  }

  #look(carried: Carried, nowUs: number): void {
    const { connection } = carried;
    const { idleUs, ageUs, ageGraceUs, keepaliveUs, keepaliveTimeoutUs } = this.#times;
    if (connection.streams > 0) carried.idleUs = nowUs;
    if (carried.drainedUs > 0) {
      if (nowUs - carried.drainedUs >= ageGraceUs) connection.destroy();
    } else if (nowUs - carried.idleUs >= idleUs || nowUs - carried.bornUs >= ageUs) {
      carried.drainedUs = nowUs;
      connection.drain();
    }
    if (carried.heard !== connection.heard) {
      carried.heard = connection.heard;
      carried.quietUs = nowUs;
      carried.unheard = 0;
    } else if (carried.unheard > 0) {
      if (carried.unheard++ * this.#lookUs >= keepaliveTimeoutUs) connection.destroy();
    } else if (nowUs - carried.quietUs >= keepaliveUs) {
      carried.unheard = 1;
      connection.ping();
    }
  }
}
