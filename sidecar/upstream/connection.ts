import { once } from "node:events";
import http2, { type ClientHttp2Session, type ClientHttp2Stream } from "node:http2";
import { addAbortSignal } from "node:stream";
import type { TLSSocket } from "node:tls";
import {
  handshakeUs,
  headerListBytesMax,
  headerPairsMax,
  sessionMemoryMb,
  streamWindowBytes,
} from "../../src/domain/limits.ts";
import type { Permit } from "../gate/permit.ts";
import type { Reached, Scheme } from "./reach.ts";

/** One HTTP/2 connection to one upstream, proven by its SETTINGS to speak HTTP/2. */
export class Connection {
  /** `ip:port` dialled. */
  readonly dialled: string;
  /** SHA-256 of the upstream's certificate (DER); empty: plaintext. */
  readonly peerCertificate: Uint8Array;
  readonly openedMonotonicUs: number;
  lastUsedMonotonicUs: number;
  streams = 0;
  readonly #session: ClientHttp2Session;
  readonly #scheme: Scheme;
  #draining = false;

  constructor(
    session: ClientHttp2Session,
    scheme: Scheme,
    dialled: string,
    peerCertificate: Uint8Array,
    nowUs: number,
  ) {
    this.#session = session;
    this.#scheme = scheme;
    this.dialled = dialled;
    this.peerCertificate = peerCertificate;
    this.openedMonotonicUs = nowUs;
    this.lastUsedMonotonicUs = nowUs;
    session.on("goaway", () => {
      this.#draining = true;
    });
  }

  /** Whether it takes another call now. */
  get usable(): boolean {
    const { closed, destroyed, remoteSettings } = this.#session;
    return (
      !this.#draining &&
      !closed &&
      !destroyed &&
      this.streams < (remoteSettings.maxConcurrentStreams ?? Number.POSITIVE_INFINITY)
    );
  }

  /** It broke: no stream on it can go on. */
  get lost(): boolean {
    return this.#session.destroyed;
  }

  get gone(): boolean {
    return this.#session.destroyed || (this.#draining && this.streams === 0);
  }

  /**
   * Opens the permitted call: what is sent is what the permit's claim says.
   *
   * @param authority the claim's target as the agent spelled it, with or without a default port.
   * @param fields regular header fields, flat.
   */
  request(
    permit: Permit,
    authority: string,
    fields: readonly string[],
    endStream: boolean,
  ): ClientHttp2Stream {
    const { path } = permit.facts.claim;
    const head = [":method", "POST", ":scheme", this.#scheme, ":path", path];
    const stream = this.#session.request([...head, ":authority", authority, ...fields], {
      endStream,
    });
    this.streams++;
    stream.once("close", () => this.streams--);
    return stream;
  }

  /** No new calls; those in flight may end. */
  drain(): void {
    this.#draining = true;
    this.#session.close();
  }

  destroy(): void {
    this.#session.destroy();
  }
}

/**
 * Ends a call that will not be completed, with RST_STREAM (CANCEL) and nothing before it. Node's own
 * `close` would first end our side, and a body cut short would look whole to its upstream.
 */
export function abandon(stream: ClientHttp2Stream): void {
  addAbortSignal(AbortSignal.abort(), stream);
}

/**
 * What to make of a connection that was just opened. Rejects when its other end does not speak HTTP/2.
 */
export async function openHttp2(
  scheme: Scheme,
  target: string,
  { socket, dialled, peerCertificate }: Reached,
  nowUs: () => number,
): Promise<Connection> {
  if (scheme === "https" && (socket as TLSSocket).alpnProtocol !== "h2") {
    socket.destroy();
    throw new Error("the upstream does not offer HTTP/2 over TLS (ALPN h2)");
  }
  const session = http2.connect(`${scheme}://${target}`, {
    createConnection: () => socket,
    maxSessionMemory: sessionMemoryMb,
    maxHeaderListPairs: headerPairsMax,
    maxReservedRemoteStreams: 0,
    settings: {
      enablePush: false,
      initialWindowSize: streamWindowBytes,
      maxHeaderListSize: headerListBytesMax,
    },
  });
  session.on("error", () => {});
  try {
    await once(session, "remoteSettings", { signal: AbortSignal.timeout(handshakeUs / 1000) });
  } catch (error) {
    session.destroy();
    throw new Error("the upstream does not speak HTTP/2", { cause: error });
  }
  return new Connection(session, scheme, dialled, peerCertificate, nowUs());
}
