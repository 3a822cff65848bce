import { createHash, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { type Claim, normaliseAuthority } from "../../src/domain/claim.ts";
import { headerListBytesMax, headerPairsMax } from "../../src/domain/limits.ts";
import type { Denial, Ingress } from "../adapters/exchange.ts";
import { problem } from "../adapters/problem.ts";
import type { Gate } from "../gate/gate.ts";
import type { Demux } from "./demux.ts";

/** What a fresh connection to the proxy's port may do: it has not said who it is. */
export const UNBOUND: Ingress = {
  target: "",
  scheme: "http",
  reverse: false,
  serverName: "",
  fault: {
    reason: "CALLER_UNIDENTIFIED",
    detail: "calls come through CONNECT with this launch's proxy credential",
  },
};

/**
 * The HTTP/1 side of the forward proxy. CONNECT is always accepted and dials nothing: gRPC clients
 * drop a refused CONNECT's reason, so the decision, and its refusal, come inside the tunnel.
 *
 * @param credential what `Proxy-Authorization: Basic base64(user:credential)` must carry; the user's
 * name says nothing.
 */
export function forwardProxy(gate: Gate, credential: string, demux: () => Demux): Server {
  const expected = digest(credential);
  const server = createServer({
    maxHeaderSize: headerListBytesMax,
    // A request we refuse must not have to be well-formed beyond its head.
    requireHostHeader: false,
  });
  server.maxHeadersCount = headerPairsMax;
  server.on("connect", (request, socket, head) => {
    const outer = demux().ingressOf(socket as Socket) ?? UNBOUND;
    if (outer.target !== "") {
      refuse(gate, request, outer, socket as Socket);
      return;
    }
    const ingress = tunnel(request, expected);
    (socket as Socket).setTimeout(0);
    socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
    if (head.length > 0) socket.unshift(head);
    demux().accept(socket as Socket, ingress);
  });
  server.on("request", (request, response) => {
    const outer = demux().ingressOf(request.socket) ?? UNBOUND;
    respond(gate, request, outer, response, expected);
  });
  server.on("clientError", (error, socket) => {
    if (socket.destroyed) return;
    const detail = `malformed HTTP/1: ${error.message}`;
    const denial = gate.refuse({ claim: null, traceparent: "" }, "REQUEST_NOT_NORMAL", detail);
    answer(socket as Socket, denial);
  });
  return server;
}

/** What the tunnel's calls may be judged by. */
function tunnel(request: IncomingMessage, expected: Buffer): Ingress {
  const target = normaliseAuthority(request.url ?? "", 0);
  const bound = { ...UNBOUND, target: typeof target === "string" ? target : "" };
  if (!identified(request, expected)) {
    const detail = "the proxy credential of this launch is missing or wrong";
    return { ...bound, fault: { reason: "CALLER_UNIDENTIFIED", detail } };
  }
  if (typeof target !== "string") {
    return { ...bound, fault: { reason: "REQUEST_NOT_NORMAL", detail: target.detail } };
  }
  return { ...bound, fault: null };
}

/** Whether the request carries this launch's credential. Takes the same time for every wrong one. */
function identified(request: IncomingMessage, expected: Buffer): boolean {
  const match = /^basic ([a-z0-9+/]+=*)$/i.exec(request.headers["proxy-authorization"] ?? "");
  if (match === null) return false;
  const pair = Buffer.from(match[1] as string, "base64").toString("utf8");
  return timingSafeEqual(digest(pair.slice(pair.indexOf(":") + 1)), expected);
}

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

function respond(
  gate: Gate,
  request: IncomingMessage,
  ingress: Ingress,
  response: ServerResponse,
  expected: Buffer,
): void {
  const bound = ingress.target !== "" || identified(request, expected);
  const { status, fields, body } = problem(deny(gate, request, ingress, bound));
  response.writeHead(status, [...fields, "connection", "close"]);
  response.end(body);
}

/** A tunnel inside a tunnel. */
function refuse(gate: Gate, request: IncomingMessage, ingress: Ingress, socket: Socket): void {
  answer(socket, deny(gate, request, ingress, true));
}

/** Writes a whole refusal to a connection that has no response object, and ends it. */
function answer(socket: Socket, denial: Denial): void {
  const { status, fields, body } = problem(denial);
  const lines = [`HTTP/1.1 ${status} Refused`, "connection: close"];
  for (let i = 0; i < fields.length; i += 2) lines.push(`${fields[i]}: ${fields[i + 1]}`);
  socket.end(Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`), body]));
}

function deny(gate: Gate, request: IncomingMessage, ingress: Ingress, identified: boolean) {
  const fault = identified ? (ingress.target === "" ? null : ingress.fault) : UNBOUND.fault;
  const attempt = (claim: Claim | null) => ({ claim, traceparent: "" });
  // Strangers' words are alike, whatever they say, so that no flood of them fills the ledger.
  if (fault !== null) return gate.refuse(attempt(null), fault.reason, fault.detail);
  const detail = "HTTP/1 requests are not carried yet, only gRPC";
  return gate.refuse(attempt(claimOf(request, ingress)), "PROTOCOL_UNSUPPORTED", detail);
}

/** As much of a plain request as can be read without doubt; null: its target cannot. */
function claimOf(request: IncomingMessage, ingress: Ingress): Claim | null {
  const absolute = /^http:\/\/([^/?#]+)/i.exec(request.url ?? "");
  const said = absolute?.[1] ?? request.headers.host ?? "";
  const target = ingress.target === "" ? normaliseAuthority(said, 80) : ingress.target;
  if (typeof target !== "string") return null;
  const verb = request.method ?? "";
  return {
    version: 1,
    protocol: "HTTP",
    target,
    verb,
    path: "",
    inputs: [],
    limitState: [],
  };
}
