import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  createServer,
  type IncomingMessage,
  type ServerOptions,
  type ServerResponse,
} from "node:http";
import { createSecureServer as createHttp2Server } from "node:http2";
import {
  createServer as createSecureServer,
  type ServerOptions as SecureServerOptions,
} from "node:https";
import type { AddressInfo, Server, Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { FrameMeter } from "../../../sidecar/adapters/web-socket-framing.ts";

/** Three million bytes that no compression makes less. */
export const BIG: Buffer = Buffer.concat(
  Array.from({ length: 93_750 }, (_, i) => createHash("sha256").update(String(i)).digest()),
);
export const sha256 = (bytes: Uint8Array): string =>
  createHash("sha256").update(bytes).digest("hex");

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

/** One small answer for each thing that clients do; what came is told back, so that clients can compare. */
async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  response.sendDate = false;
  const path = (request.url ?? "").split("?")[0];
  const body = await bodyOf(request);
  switch (path) {
    case "/echo":
      response.setHeader("X-Repeated", ["one", "two"]);
      response.end(
        JSON.stringify({
          method: request.method,
          url: request.url,
          custom: request.headers["x-custom"] ?? "",
          cookie: request.headers.cookie ?? "",
          trailers: request.trailers,
          bytes: body.length,
          sha256: sha256(body),
        }),
      );
      return;
    case "/big":
      response.setHeader("Content-Length", BIG.length);
      response.end(BIG);
      return;
    case "/chunked":
      response.setHeader("Trailer", "X-Sum");
      for (let at = 0; at < BIG.length; at += 100_000)
        response.write(BIG.subarray(at, at + 100_000));
      response.addTrailers({ "X-Sum": sha256(BIG) });
      response.end();
      return;
    case "/gzip":
      response.writeHead(200, { "Content-Encoding": "gzip" });
      response.end(gzipSync("the same again, ".repeat(100)));
      return;
    case "/redirect":
      response.writeHead(302, { Location: "/echo?redirected=1" });
      response.end();
      return;
    case "/empty":
      response.writeHead(204);
      response.end();
      return;
    case "/missing":
      // HTTP/2 has no words for it.
      if (request.httpVersionMajor === 2) response.writeHead(404);
      else response.writeHead(404, "Nothing Here");
      response.end("no such thing");
      return;
    case "/close":
      // To the end of the connection.
      response.writeHead(200, request.httpVersionMajor === 2 ? {} : { Connection: "close" });
      response.end("all of it");
      return;
    case "/tickets/7":
      response.setHeader("Content-Type", "application/json");
      response.end('{"title":"the door is stuck"}');
      return;
    case "/v1/chat/completions":
      chat(JSON.parse(body.toString()) as { messages: { content: string }[] }, response);
      return;
    default:
      response.writeHead(500);
      response.end("unknown");
  }
}

/** A chat model that says back, word by word, what it was told. */
function chat(asked: { messages: { content: string }[] }, response: ServerResponse): void {
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  const words = (asked.messages.at(-1)?.content ?? "").split(" ");
  const next = (): void => {
    const word = words.shift();
    if (word === undefined) {
      response.end("data: [DONE]\n\n");
      return;
    }
    response.write(`data: ${JSON.stringify({ choices: [{ delta: { content: word } }] })}\n\n`);
    setImmediate(next);
  };
  next();
}

/** Says every message back. */
function echoMessages(request: IncomingMessage, socket: Socket): void {
  const accept = createHash("sha1")
    .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64");
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  const frames = new FrameMeter(true, 1e6);
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk) => {
    const said: Buffer[] = [];
    frames.push(chunk, (bytes) => said.push(Buffer.from(bytes)));
    const text = Buffer.concat(said);
    const first = frames.closed ? 0x88 : 0x81;
    socket.write(Buffer.concat([Buffer.of(first, text.length), text]));
    if (frames.closed) socket.end();
  });
}

export interface HttpPeers {
  readonly http: number;
  readonly https: number;
  /** HTTP/2 over TLS, and HTTP/1.1 for whoever does not ask for it. */
  readonly http2: number;
  /** Connections that came, of both. */
  connections(): number;
  close(): void;
}

/** @param tls of the servers that speak it, PEM. */
export async function startPeers(tls: { cert: string; key: string }): Promise<HttpPeers> {
  let count = 0;
  const sockets = new Set<Socket>();
  const listen = async (server: Server): Promise<number> => {
    server.on("connection", (socket) => {
      count++;
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
    });
    server.on("request", (request, response) => {
      void answer(request as IncomingMessage, response as ServerResponse);
    });
    server.on("upgrade", (request, socket) =>
      echoMessages(request as IncomingMessage, socket as Socket),
    );
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  };
  // Java asks for h2c with its first request, and is to be answered without.
  const shouldUpgradeCallback = (r: IncomingMessage) => r.headers.upgrade === "websocket";
  const plain = createServer({ shouldUpgradeCallback } as ServerOptions);
  const secure = createSecureServer({ ...tls, shouldUpgradeCallback } as SecureServerOptions);
  const both = createHttp2Server({ ...tls, allowHTTP1: true });
  // In HTTP/2 Node knows it in small letters alone, and Java writes it otherwise.
  both.on("checkExpectation", (request, response) => {
    response.writeContinue();
    both.emit("request", request, response);
  });
  const [http, https] = [await listen(plain), await listen(secure)];
  // Its requests and answers are those of HTTP/1.1, as far as the two have the same.
  const http2 = await listen(both as unknown as Server);
  return {
    http,
    https,
    http2,
    connections: () => count,
    close() {
      for (const socket of sockets) socket.destroy();
      plain.close();
      secure.close();
      both.close();
    },
  };
}
