import { H2Connection, type H2Options } from "../h2/connection.ts";
import { type CallGround, serveCall } from "./h2-call.ts";

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

/** What all connections have in common. */
type Served = Omit<CallGround, "peer" | "certificate" | "after">;

/** What is looked at now and then of one connection: no timer of its own, for there are thousands. */
interface Watched {
  /** Of the connection, when it was looked at last. */
  heard: number;
  readonly bornUs: number;
  /** Since when it is seen to say nothing, and to carry no call. */
  quietUs: number;
  idleUs: number;
  /** Looks since it was pinged; 0: it has spoken since. Not a time, which a stall of ours would run out. */
  unheard: number;
  /** When it was told that it takes no more calls; 0: it does. */
  drainedUs: number;
}

/**
 * gRPC over our own HTTP/2 (ADR 26): for the thousands of connections that stay. One takes some 40 KB
 * less than by grpc-js, and its messages a third of the time.
 */
export class H2Server {
  readonly #ground: Served;
  readonly #times: ConnectionTimes;
  readonly #clock: Clock;
  /** How often connections are looked at. */
  readonly #lookUs: number;
  readonly #connections = new Map<H2Connection, Watched>();
  #looking: { cancel(): void } | null = null;
  #closing = false;

  constructor(ground: Served, times: ConnectionTimes, clock: Clock) {
    const { idleUs, ageUs, ageGraceUs, keepaliveUs, keepaliveTimeoutUs } = times;
    this.#ground = ground;
    this.#times = times;
    this.#lookUs = Math.min(idleUs, ageUs, ageGraceUs, keepaliveUs, keepaliveTimeoutUs) / 2;
    this.#clock = clock;
  }

  /** @param certificate what the other side showed and TLS verified, DER. */
  accept(socket: H2Socket, certificate: Uint8Array): void {
    const clock = this.#clock;
    const nowUs = clock.monotonicUs();
    const peer = `${socket.remoteAddress}:${socket.remotePort}`;
    const after: CallGround["after"] = (us, fn) => clock.after(us, fn);
    const ground = { ...this.#ground, peer, certificate, after };
    const connection = new H2Connection(socket, {
      role: "server",
      clock,
      onStream: (stream, fields, last) => serveCall(ground, stream, fields, last),
      onClose: () => this.#connections.delete(connection),
    });
    this.#connections.set(connection, {
      heard: 0,
      bornUs: nowUs,
      quietUs: nowUs,
      idleUs: nowUs,
      unheard: 0,
      drainedUs: 0,
    });
    if (this.#looking === null) this.#lookLater();
    // It shook hands while the server began to end.
    if (this.#closing) connection.drain();
  }

  /** Takes no new calls; those under way have `graceUs` to end. */
  close(graceUs: number): void {
    this.#closing = true;
    for (const connection of this.#connections.keys()) connection.drain();
    this.#clock.after(graceUs, () => {
      for (const connection of [...this.#connections.keys()]) connection.destroy();
    });
  }

  #lookLater(): void {
    this.#looking = this.#clock.after(this.#lookUs, () => {
      this.#looking = null;
      const nowUs = this.#clock.monotonicUs();
      for (const [connection, watched] of this.#connections) this.#look(connection, watched, nowUs);
      if (this.#connections.size > 0) this.#lookLater();
    });
  }

  #look(connection: H2Connection, watched: Watched, nowUs: number): void {
    const { idleUs, ageUs, ageGraceUs, keepaliveUs, keepaliveTimeoutUs } = this.#times;
    if (connection.streams > 0) watched.idleUs = nowUs;
    if (watched.drainedUs > 0) {
      if (nowUs - watched.drainedUs >= ageGraceUs) connection.destroy();
    } else if (nowUs - watched.idleUs >= idleUs || nowUs - watched.bornUs >= ageUs) {
      watched.drainedUs = nowUs;
      connection.drain();
    }
    connection.rest();
    if (watched.heard !== connection.heard) {
      watched.heard = connection.heard;
      watched.quietUs = nowUs;
      watched.unheard = 0;
    } else if (watched.unheard > 0) {
      if (watched.unheard++ * this.#lookUs >= keepaliveTimeoutUs) connection.destroy();
    } else if (nowUs - watched.quietUs >= keepaliveUs) {
      watched.unheard = 1;
      connection.ping();
    }
  }
}
