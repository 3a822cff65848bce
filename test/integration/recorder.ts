import { once } from "node:events";
import http2, {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { Duplex } from "node:stream";
import tls, { type TLSSocket } from "node:tls";
import { parseSidecarName } from "../../src/domain/enrolment.ts";
import { createCa, issueServer } from "../../src/native/pki.ts";
import type { Door } from "./rig.ts";

const HOUR_US = 3_600_000_000;

/** One call as the sidecar made it. */
export interface RecordedCall {
  readonly path: string;
  /** Names and values as they came, decoded from HPACK. */
  readonly headers: string[];
  readonly trailers: string[];
  /** All DATA of the sidecar's, joined. */
  up: Buffer;
  /** All DATA of the control plane's, joined. */
  down: Buffer;
}

/** What stands behind a recorder. */
export interface Target {
  readonly address: string;
  readonly ca: string;
  /**
   * A certificate to show there for a sidecar that showed its own, which names this ledger. Whoever
   * stands in between needs the ledger key for it, and so does this.
   */
  certificate(ledgerId: Uint8Array): Promise<{ certPem: string; keyPem: string }>;
}

/**
 * Stands between a sidecar and its control plane, ends the sidecar's TLS with a certificate of its
 * own, passes everything on, and keeps it: each byte of the connection, and each call with its
 * headers decoded, since HPACK writes text in a code of its own.
 */
export class Recorder {
  readonly door: Door;
  readonly calls: RecordedCall[] = [];
  readonly #bytes: Buffer[] = [];
  readonly #server: tls.Server;
  readonly #sessions = new Set<ServerHttp2Session | ClientHttp2Session>();
  readonly #target: Target;

  private constructor(server: tls.Server, door: Door, target: Target) {
    this.#server = server;
    this.door = door;
    this.#target = target;
    server.on("secureConnection", (socket) => void this.#accept(socket));
  }

  static async open(target: Target): Promise<Recorder> {
    const now = { nowUs: Date.now() * 1000, ttlUs: HOUR_US };
    const ca = await createCa("recorder", now);
    const { certPem, keyPem } = await issueServer(ca, ["localhost", "127.0.0.1"], now);
    const server = tls.createServer({
      cert: certPem,
      key: keyPem,
      ALPNProtocols: ["h2"],
      requestCert: true,
      rejectUnauthorized: false,
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    return new Recorder(server, { address: `127.0.0.1:${port}`, ca: ca.certPem }, target);
  }

  /** Every byte that the sidecar sent, below TLS, connection after connection. */
  get bytes(): Buffer {
    return Buffer.concat(this.#bytes);
  }

  /** Everything that the sidecar sent: the bytes, and the calls without their framing. */
  get sent(): Buffer[] {
    const texts = this.calls.flatMap((c) => [...c.headers, ...c.trailers]);
    return [this.bytes, Buffer.from(texts.join("\n")), ...this.calls.map((c) => c.up)];
  }

  close(): void {
    for (const session of this.#sessions) session.destroy();
    this.#server.close();
  }

  async #accept(socket: TLSSocket): Promise<void> {
    const tapped = this.#tap(socket);
    const shown = ledgerOf(socket);
    const own = shown === null ? null : await this.#target.certificate(shown);
    const inside = http2.performServerHandshake(tapped);
    const [host, port] = this.#target.address.split(":");
    const outside = http2.connect(`https://${this.#target.address}`, {
      createConnection: () =>
        tls.connect({
          host,
          port: Number(port),
          ca: this.#target.ca,
          servername: "localhost",
          ALPNProtocols: ["h2"],
          ...(own && { cert: own.certPem, key: own.keyPem }),
        }),
    });
    for (const session of [inside, outside]) {
      this.#sessions.add(session);
      session.on("error", () => session.destroy());
    }
    inside.once("close", () => outside.destroy());
    outside.once("close", () => inside.destroy());
    inside.on("stream", (stream, headers, _flags, raw) =>
      this.#pass(stream, headers, raw as unknown as string[], outside),
    );
  }

  /** Everything is kept on its way into the session, before anybody reads meaning into it. */
  #tap(socket: TLSSocket): Duplex {
    const tapped = new Duplex({
      read: () => void socket.resume(),
      write: (chunk: Buffer, _encoding, done) => void socket.write(chunk, done),
      final: (done) => void socket.end(done),
      destroy: (error, done) => {
        socket.destroy();
        done(error);
      },
    });
    socket.on("data", (chunk: Buffer) => {
      this.#bytes.push(chunk);
      if (!tapped.push(chunk)) socket.pause();
    });
    socket.on("end", () => tapped.push(null));
    socket.on("error", () => tapped.destroy());
    socket.on("close", () => tapped.destroy());
    return tapped;
  }

  #pass(
    inner: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    raw: string[],
    outside: ClientHttp2Session,
  ): void {
    const call: RecordedCall = {
      path: String(headers[":path"]),
      headers: raw,
      trailers: [],
      up: Buffer.alloc(0),
      down: Buffer.alloc(0),
    };
    this.calls.push(call);
    const outer: ClientHttp2Stream = outside.request({ ...headers });
    for (const stream of [inner, outer]) stream.on("error", () => {});
    inner.on("data", (chunk: Buffer) => {
      call.up = Buffer.concat([call.up, chunk]);
      outer.write(chunk);
    });
    inner.on("trailers", (_t, _f, list) => call.trailers.push(...(list as unknown as string[])));
    inner.on("end", () => outer.end());
    inner.on("close", () => outer.close());
    let trailers: IncomingHttpHeaders = {};
    outer.on("trailers", (t) => {
      trailers = t;
    });
    outer.on("response", (head, flags) => {
      if (inner.destroyed) return;
      const { ":status": status, ...rest } = head;
      const only = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0;
      inner.respond({ ":status": status, ...rest }, { waitForTrailers: !only, endStream: only });
    });
    inner.on("wantTrailers", () => inner.sendTrailers(trailers));
    outer.on("data", (chunk: Buffer) => {
      call.down = Buffer.concat([call.down, chunk]);
      if (!inner.destroyed) inner.write(chunk);
    });
    outer.on("end", () => inner.end());
    outer.on("close", () => {
      if (!inner.destroyed && !inner.writableEnded) inner.close(outer.rstCode);
    });
  }
}

/** The ledger that a sidecar's certificate names; null: it shows none. */
function ledgerOf(socket: TLSSocket): Uint8Array | null {
  const names = socket.getPeerX509Certificate()?.subjectAltName;
  return names === undefined
    ? null
    : (parseSidecarName(names.slice("URI:".length))?.ledgerId ?? null);
}

/** gRPC's messages in a stream's DATA; the last may be cut short. None is compressed. */
export function messagesIn(data: Buffer): Buffer[] {
  const messages: Buffer[] = [];
  for (let at = 0; at + 5 <= data.length; ) {
    if (data[at] !== 0) throw new Error("a compressed message hides what it says");
    const end = at + 5 + data.readUInt32BE(at + 1);
    if (end > data.length) break;
    messages.push(data.subarray(at + 5, end));
    at = end;
  }
  return messages;
}
