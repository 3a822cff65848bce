import { constants } from "node:crypto";
import type { Socket } from "node:net";
import tls, { type TLSSocket } from "node:tls";
import { Census, type CensusLimits } from "./census.ts";
import type { Clock } from "./clock.ts";
import { Doors } from "./doors.ts";
import type { Issued } from "./pki.ts";
import { WaitingLine } from "./waiting-line.ts";

/** What the server shows of itself, PEM. */
export type ServerIdentity = Pick<Issued, "keyPem" | "certPem">;

export interface TlsListenerOptions {
  readonly identity: ServerIdentity;
  /** PEM of the authority that client certificates come from. */
  readonly clientCa: string;
  readonly limits: CensusLimits & {
    /** Microseconds for the handshake, from its beginning on. */
    readonly handshakeUs: number;
    /** Microseconds until then, at most. */
    readonly waitingUsMax: number;
    /** How many begin in one turn of the event loop, and are under way at once but for those slower than this. */
    readonly handshakesPerTurn: number;
    readonly handshakesAtOnce: number;
    readonly handshakeSlowUs: number;
  };
  readonly clock: Clock;
}

export interface TlsListener {
  /**
   * `127.0.0.1:0` or `[::1]:7443`. Hands each connection over once TLS is done, with the certificate
   * (DER) that it showed and that verified. Resolves to the port; rejects when the address cannot be
   * listened on.
   */
  listen(
    address: string,
    accept: (socket: TLSSocket, certificate: Uint8Array | null) => void,
  ): Promise<number>;
  /** For how long the next one to shake hands has waited by now, in microseconds; 0: nobody waits. */
  waitedUs(): number;
  /** Shows this to whoever connects from now on; connections that are open go on. */
  present(identity: ServerIdentity): void;
  /**
   * Takes no more connections, and ends those that wait or still shake hands. Resolves when the last one that
   * was handed over is gone: that is its owner's to bring about.
   */
  close(): Promise<void>;
}

/**
 * A port that speaks TLS 1.3 with HTTP/2 inside, and nothing else.
 *
 * A client may show a certificate. One that does not verify counts as none: its holder may do what a
 * stranger may, and hears so by an answer rather than a reset. No session is resumed, since a resumed
 * one would be believed without its certificate being looked at again.
 */
export function tlsListener(options: TlsListenerOptions): TlsListener {
  const { identity, clientCa, limits, clock } = options;
  const context = ({ keyPem, certPem }: ServerIdentity) => ({
    key: keyPem,
    cert: certPem,
    ca: clientCa,
    minVersion: "TLSv1.3" as const,
    secureOptions: constants.SSL_OP_NO_TICKET,
  });
  const server = tls.createServer({
    ...context(identity),
    requestCert: true,
    rejectUnauthorized: false,
    // Asked, not listed: of a list each connection keeps a copy, and with it the 64 KiB it was cut from.
    ALPNCallback: ({ protocols }) => (protocols.includes("h2") ? "h2" : undefined),
    handshakeTimeout: Math.ceil(limits.handshakeUs / 1000),
  });
  const census = new Census(limits);
  /** By name, those whose handshake is not done. */
  const shaking = new Map<string, Newcomer>();
  const line = new WaitingLine<Newcomer>({
    perTurn: limits.handshakesPerTurn,
    atOnce: limits.handshakesAtOnce,
    slowUs: limits.handshakeSlowUs,
    patienceUs: limits.waitingUsMax,
    clock,
    hasPlace: () => census.hasPlace,
    begin({ name, socket }) {
      if (socket.destroyed) return false;
      census.begin(name);
      server.emit("connection", socket);
      return true;
    },
    sendAway: ({ socket }) => socket.destroy(),
  });
  const over = (name: string): void => {
    const newcomer = shaking.get(name);
    if (newcomer === undefined) return;
    shaking.delete(name);
    line.over(newcomer);
  };
  // TLS spends nothing on it before it has its turn.
  const doors = new Doors(2 * limits.handshakesPerTurn, (socket) => {
    const name = nameOf(socket);
    if (!census.enter(name, socket.remoteAddress ?? "")) {
      socket.destroy();
      return;
    }
    const newcomer = { name, socket };
    shaking.set(name, newcomer);
    socket.on("close", () => {
      over(name);
      census.leave(name);
    });
    line.join(newcomer);
  });
  server.on("tlsClientError", (_error, socket) => socket.destroy());
  return {
    listen(address, accept) {
      server.on("secureConnection", (socket) => {
        over(nameOf(socket));
        // Its owner hears of errors as well; until then nobody would.
        socket.on("error", destroyed);
        // Gone already: it was counted out, and must not be counted in again.
        const gone = socket.remoteAddress === undefined;
        const certificate = certificateOf(socket);
        const full = certificate !== null && !census.certify(nameOf(socket));
        if (gone || full) socket.destroy();
        else accept(socket, certificate);
      });
      return doors.listen(hostPort(address));
    },
    waitedUs: () => line.waitedUs,
    present: (next) => server.setSecureContext(context(next)),
    close() {
      const closed = doors.close();
      line.close();
      for (const { socket } of shaking.values()) socket.destroy();
      return closed;
    },
  };
}

/** Who has yet to say who they are. */
interface Newcomer {
  readonly name: string;
  readonly socket: Socket;
}

/** One for all of them. */
function destroyed(this: Socket): void {
  this.destroy();
}

/** No two connections that live have the same. */
const nameOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;

function certificateOf(socket: TLSSocket): Uint8Array | null {
  const shown = socket.authorized ? socket.getPeerX509Certificate() : undefined;
  return shown === undefined ? null : new Uint8Array(shown.raw);
}

function hostPort(address: string): { host: string; port: number } {
  const at = address.lastIndexOf(":");
  return {
    host: address.slice(0, at).replace(/^\[|\]$/g, ""),
    port: Number(address.slice(at + 1)),
  };
}
