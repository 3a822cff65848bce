import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { normaliseTarget } from "../../src/domain/claim.ts";
import { handshakeUs, sniffUs } from "../../src/domain/limits.ts";
import { H2Connection } from "../../src/h2/connection.ts";
import type { RawHeaders } from "../../src/h2/fields.ts";
import type { H2Stream } from "../../src/h2/stream.ts";
import type { Clock } from "../../src/native/clock.ts";
import { type ClientHello, readClientHello } from "../adapters/client-hello.ts";
import type { Ingress } from "../adapters/exchange.ts";
import { breakOff } from "../adapters/http-wire.ts";
import { splitTarget } from "../upstream/address.ts";
import type { TlsTerminator } from "./tls.ts";

export interface DemuxHandlers {
  /** One HTTP/2 stream with its header fields; `last`: no body follows. */
  readonly onStream: (stream: H2Stream, raw: RawHeaders, last: boolean, ingress: Ingress) => void;
  /** A connection on which HTTP/1 is spoken. */
  readonly onHttp1: (socket: Socket, ingress: Ingress) => void;
  /** Whether TLS to this target is passed on as it is. */
  readonly passesUnread: (target: string) => boolean;
  /** TLS that is, with what its client says first; a string: what is wrong with that. */
  readonly onUnread: (socket: Socket, hello: ClientHello | string, ingress: Ingress) => void;
  /** Bytes that are no protocol we carry. The connection is reset. */
  readonly onGarbage: (ingress: Ingress, detail: string) => void;
}

const TLS_HANDSHAKE = 0x16;
const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/**
 * One port for everything: the first bytes tell TLS, HTTP/2 with prior knowledge and HTTP/1.x apart.
 * A tunnel inside any of them comes back here with its target bound.
 */
export class Demux {
  readonly #clock: Clock;
  readonly #tls: TlsTerminator;
  readonly #handlers: DemuxHandlers;
  readonly #sockets = new Set<Socket>();
  #destroyed = false;
  /** With what is to be done once it is gone. */
  readonly #http2 = new Map<H2Connection, (() => void)[]>();

  /** Accepted, and yet to show what is spoken on them. */
  readonly #entering = new Set<Socket>();
  #whenEntered: (() => void)[] = [];

  constructor(clock: Clock, tls: TlsTerminator, handlers: DemuxHandlers) {
    this.#clock = clock;
    this.#tls = tls;
    this.#handlers = handlers;
  }

  /** A connection whose first bytes are still to come. */
  accept(socket: Socket, ingress: Ingress): void {
    this.#track(socket);
    this.#entering.add(socket);
    socket.once("close", () => this.#entered(socket));
    const late = () =>
      this.#refuse(socket, ingress, "nothing was said in time; a client must speak first");
    this.#peek(socket, sniffUs, late, (head) => {
      const protocol = sniff(head);
      return protocol === "undecided" ? null : () => this.#route(protocol, socket, ingress, head);
    });
  }

  /**
   * Looks at what comes first until it tells enough: what is then called finds all of it still to be read.
   *
   * @param late called instead, when it has not within `us` microseconds.
   */
  #peek(
    socket: Socket,
    us: number,
    late: () => void,
    enough: (head: Buffer) => (() => void) | null,
  ): void {
    const timer = this.#clock.after(us, () => {
      settled();
      late();
    });
    const settled = (): void => {
      timer.cancel();
      socket.off("readable", look);
      socket.off("close", settled);
    };
    // Kept aside until they tell enough: put back, they would be readable again at once, for ever.
    let head: Buffer = Buffer.alloc(0);
    const look = (): void => {
      const more = socket.read() as Buffer | null;
      if (more === null) return;
      head = head.length === 0 ? more : Buffer.concat([head, more]);
      const go = enough(head);
      if (go === null) return;
      settled();
      socket.unshift(head);
      go();
    };
    socket.on("readable", look);
    socket.once("close", settled);
  }

  #route(protocol: Sniffed, socket: Socket, ingress: Ingress, head: Buffer): void {
    if (protocol === "http2") this.http2(socket, ingress);
    else if (protocol === "http1") this.#handlers.onHttp1(socket, ingress);
    if (protocol !== "tls") this.#entered(socket);
    if (protocol === "tls") {
      if (ingress.dialled !== "") this.#named(socket, ingress);
      else if (this.#handlers.passesUnread(ingress.target)) this.#unread(socket, ingress);
      else this.#terminate(socket, ingress);
    } else if (protocol === "unknown") {
      const said = head.subarray(0, 8).toString("hex");
      this.#refuse(socket, ingress, `it begins with ${said}, which is not TLS, HTTP/2 or HTTP/1`);
    }
  }

  #terminate(socket: Socket, ingress: Ingress): void {
    const inside = (secure: TLSSocket, bound: Ingress): void => {
      this.#track(secure);
      if (secure.alpnProtocol === "h2") this.http2(secure, bound);
      else this.#handlers.onHttp1(secure, bound);
      this.#entered(socket);
    };
    this.#tls.accept(socket, ingress, inside, (why) => {
      const where = ingress.target || ingress.dialled;
      const detail = `TLS to ${where} was broken off within its handshake (${why}): who trusts no certificate but the server's own, or shows one, takes an opaque rule`;
      if (!this.#destroyed) this.#handlers.onGarbage(ingress, detail);
    });
  }

  /** Of a connection to an address: whether TLS is passed on unread shows by the name that its hello says. */
  #named(socket: Socket, ingress: Ingress): void {
    const late = () =>
      this.#refuse(socket, ingress, "its TLS does not say hello to its end in time");
    this.#peek(socket, handshakeUs, late, (head) => {
      const hello = readClientHello(head);
      if (hello === null) return null;
      return () => {
        const target = targetOf(hello, ingress.dialled);
        // What is wrong with a hello, whoever ends its TLS will say.
        if (typeof hello === "string" || !this.#handlers.passesUnread(target)) {
          this.#terminate(socket, ingress);
        } else this.#passOn(socket, hello, { ...ingress, target });
      };
    });
  }

  #unread(socket: Socket, ingress: Ingress): void {
    const say = (hello: ClientHello | string) => this.#passOn(socket, hello, ingress);
    const late = () => say("does not say hello to its end in time");
    this.#peek(socket, handshakeUs, late, (head) => {
      const hello = readClientHello(head);
      return hello === null ? null : () => say(hello);
    });
  }

  #passOn(socket: Socket, hello: ClientHello | string, ingress: Ingress): void {
    this.#entered(socket);
    this.#handlers.onUnread(socket, hello, ingress);
  }

  http2(socket: Socket, ingress: Ingress): void {
    const whenGone: (() => void)[] = [];
    const connection = new H2Connection(socket, {
      role: "server",
      extendedConnect: true,
      clock: this.#clock,
      onStream: (stream, raw, last) => this.#handlers.onStream(stream, raw, last, ingress),
      onClose: () => {
        this.#http2.delete(connection);
        for (const tell of whenGone) tell();
      },
    });
    this.#http2.set(connection, whenGone);
    if (ingress.fault !== null) {
      // It is told why all its calls are refused, and holds one of the agent's places no longer.
      const late = this.#clock.after(handshakeUs, () => connection.destroy());
      whenGone.push(() => late.cancel());
    }
  }

  #refuse(socket: Socket, ingress: Ingress, detail: string): void {
    this.#handlers.onGarbage(ingress, detail);
    breakOff(socket);
  }

  #track(socket: Socket): void {
    if (this.#sockets.has(socket)) return;
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.once("close", () => this.#sockets.delete(socket));
  }

  #entered(socket: Socket): void {
    this.#entering.delete(socket);
    if (this.#entering.size > 0) return;
    for (const tell of this.#whenEntered) tell();
    this.#whenEntered = [];
  }

  /** Resolves once everybody who was accepted has shown what is spoken, or was too late with it. */
  async settled(): Promise<void> {
    if (this.#entering.size === 0) return;
    await new Promise<void>((done) => this.#whenEntered.push(done));
  }

  /** No new streams; those open may end. Resolves once they have. */
  async drain(): Promise<void> {
    await Promise.all(
      [...this.#http2].map(([connection, whenGone]) => {
        const gone = new Promise<void>((done) => whenGone.push(done));
        connection.drain();
        return gone;
      }),
    );
  }

  destroy(): void {
    this.#destroyed = true;
    for (const connection of [...this.#http2.keys()]) connection.destroy();
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** `host:port` that a hello on a connection to `ip:port` is for. */
function targetOf(hello: ClientHello | string, dialled: string): string {
  if (typeof hello === "string" || hello.serverName === null) return dialled;
  const target = normaliseTarget(hello.serverName, splitTarget(dialled).port);
  return typeof target === "string" ? target : dialled;
}

type Sniffed = "tls" | "http2" | "http1" | "unknown" | "undecided";

/** Tells the protocol from a connection's first bytes, which may still be too few. */
export function sniff(head: Uint8Array): Sniffed {
  if (head[0] === TLS_HANDSHAKE) {
    if (head.length < 2) return "undecided";
    return head[1] === 3 ? "tls" : "unknown";
  }
  const text = Buffer.from(head.buffer, head.byteOffset, Math.min(head.length, 24)).toString(
    "latin1",
  );
  if (text.length < PREFACE.length && PREFACE.startsWith(text)) return "undecided";
  if (text.startsWith(PREFACE)) return "http2";
  // A method is a short word of capitals and a space, as in every method that is registered.
  if (/^[A-Z-]{3,20} /.test(text)) return "http1";
  return /^[A-Z-]{0,20}$/.test(text) ? "undecided" : "unknown";
}
