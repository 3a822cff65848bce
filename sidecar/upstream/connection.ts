import { hash } from "node:crypto";
import { once } from "node:events";
import http2, { type ClientHttp2Session, type ClientHttp2Stream } from "node:http2";
import { connect as connectTcp, isIP, type Socket } from "node:net";
import { addAbortSignal } from "node:stream";
import { connect as connectTls, type SecureContext, type TLSSocket } from "node:tls";
import {
  handshakeUs,
  headerListBytesMax,
  headerPairsMax,
  sessionMemoryMb,
  streamWindowBytes,
} from "../../src/domain/limits.ts";
import type { Permit } from "../gate/permit.ts";
import { splitTarget } from "./address.ts";

export type Scheme = "http" | "https";

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

  constructor(session: ClientHttp2Session, scheme: Scheme, dialled: string, nowUs: number) {
    this.#session = session;
    this.#scheme = scheme;
    this.dialled = dialled;
    const certificate = (session.socket as TLSSocket).getPeerX509Certificate?.();
    this.peerCertificate = certificate
      ? hash("sha256", certificate.raw, "buffer")
      : new Uint8Array();
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
 * Dials one address. Rejects when it does not answer in time, or its certificate does not hold, or
 * it does not speak HTTP/2.
 */
export async function dial(
  scheme: Scheme,
  target: string,
  address: string,
  trust: () => SecureContext,
  nowUs: () => number,
): Promise<Connection> {
  const { host, port } = splitTarget(target);
  const signal = AbortSignal.timeout(handshakeUs / 1000);
  let socket: Socket;
  if (scheme === "https") {
    const secure = connectTls({
      host: address,
      port,
      // An address is verified as such; SNI is for names alone.
      ...(isIP(host) === 0 ? { servername: host } : {}),
      secureContext: trust(),
      minVersion: "TLSv1.2",
      ALPNProtocols: ["h2"],
    });
    socket = secure;
    await opened(socket, "secureConnect", signal);
    if (secure.alpnProtocol !== "h2") {
      socket.destroy();
      throw new Error("the upstream does not offer HTTP/2 over TLS (ALPN h2)");
    }
  } else {
    socket = connectTcp({ host: address, port });
    await opened(socket, "connect", signal);
  }
  socket.setNoDelay(true);
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
    await once(session, "remoteSettings", { signal });
  } catch (error) {
    session.destroy();
    throw new Error("the upstream does not speak HTTP/2", { cause: error });
  }
  return new Connection(
    session,
    scheme,
    `${address.includes(":") ? `[${address}]` : address}:${port}`,
    nowUs(),
  );
}

async function opened(socket: Socket, event: string, signal: AbortSignal): Promise<void> {
  try {
    await once(socket, event, { signal });
  } catch (error) {
    socket.destroy();
    throw error;
  }
  socket.on("error", () => {});
}
