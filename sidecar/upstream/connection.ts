import { TLSSocket } from "node:tls";
import { handshakeUs } from "../../src/domain/limits.ts";
import { H2Connection } from "../../src/h2/connection.ts";
import type { RawHeaders } from "../../src/h2/fields.ts";
import type { H2Stream, StreamListener } from "../../src/h2/stream.ts";
import type { Clock } from "../../src/native/clock.ts";
import type { Permit } from "../gate/permit.ts";
import { inTheClear, NotHttp2, type Reached } from "./reach.ts";

/** One HTTP/2 connection to one upstream, proven by its SETTINGS to speak HTTP/2. */
export class Connection {
  /** `ip:port` dialled. */
  readonly dialled: string;
  /** SHA-256 of the upstream's certificate (DER); empty: plaintext. */
  readonly peerCertificate: Uint8Array;
  readonly openedMonotonicUs: number;
  lastUsedMonotonicUs: number;
  readonly #http2: H2Connection;

  constructor(http2: H2Connection, reached: Reached, nowUs: number) {
    this.#http2 = http2;
    this.dialled = reached.dialled;
    this.peerCertificate = reached.peerCertificate;
    this.openedMonotonicUs = nowUs;
    this.lastUsedMonotonicUs = nowUs;
  }

  /** Whether it takes another call now. */
  get usable(): boolean {
    return this.#http2.usable;
  }

  /** Calls under way. */
  get streams(): number {
    return this.#http2.streams;
  }

  /** No call on it can go on, and none can begin. */
  get gone(): boolean {
    return this.#http2.closed;
  }

  /**
   * Opens the permitted call: what is sent is what the permit's claim says.
   *
   * @param place the claim's target as the agent spelled it, with or without a default port; and the
   * query, `?…` or empty; and a method other than the permit's place has.
   * @param fields regular header fields, flat.
   * @returns null: it closed, or filled up, since it was found.
   */
  request(
    permit: Permit,
    place: { readonly authority: string; readonly query: string; readonly method?: string },
    fields: RawHeaders,
    last: boolean,
    listener: StreamListener,
  ): H2Stream | null {
    if (!this.#http2.usable) return null;
    const { method, path } = permit.facts.place;
    const head = [
      ":method",
      place.method ?? method,
      ":scheme",
      inTheClear(permit) ? "http" : "https",
      ":path",
      path + place.query,
    ];
    head.push(":authority", place.authority, ...fields);
    return this.#http2.open(head, last, listener);
  }

  /** No new calls; those in flight may end. */
  drain(): void {
    this.#http2.drain();
  }

  destroy(): void {
    this.#http2.destroy();
  }
}

/**
 * What to make of a connection that was just opened. Rejects when its other end does not speak HTTP/2.
 */
export async function openHttp2(reached: Reached, clock: Clock): Promise<Connection> {
  const { socket } = reached;
  if (socket instanceof TLSSocket && socket.alpnProtocol !== "h2") {
    socket.destroy();
    throw new NotHttp2("the upstream does not offer HTTP/2 over TLS (ALPN h2)");
  }
  const http2 = new H2Connection(socket, { role: "client", clock });
  const late = clock.after(handshakeUs, () => http2.destroy());
  try {
    await http2.ready();
  } catch (error) {
    throw new Error("the upstream does not speak HTTP/2", { cause: error });
  } finally {
    late.cancel();
  }
  return new Connection(http2, reached, clock.monotonicUs());
}
