import { randomBytes } from "node:crypto";
import type { RawHeaders } from "../../src/h2/fields.ts";
import { CODE } from "../../src/h2/frames.ts";
import type { H2Stream } from "../../src/h2/stream.ts";
import type { Ingress } from "./exchange.ts";
import { type CarryServices, carryHttp } from "./http-carry.ts";
import type { Framing } from "./http-fields.ts";
import { type HttpRequestParts, readHttpRequest } from "./http-request.ts";
import { Http2Client } from "./http2-client.ts";

/**
 * Carries one HTTP/2 stream that is not gRPC, judged as any HTTP request, whatever HTTP the upstream
 * agrees on.
 */
export function serveHttp2(
  stream: H2Stream,
  raw: RawHeaders,
  last: boolean,
  ingress: Ingress,
  services: CarryServices,
): void {
  const { framing, protocol, ...parts } = partsOf(raw, last);
  const client = new Http2Client(stream, parts.method, framing, last, protocol !== null);
  const request = readHttpRequest(parts, ingress);
  if ("unreadable" in request) {
    client.deny(services.gate.refuse(request, request.reason, request.detail));
    return;
  }
  // As a plain GET it would be answered, and an answer is what opens it here.
  if (protocol !== null && !request.webSocket) {
    const detail = "CONNECT with :protocol opens a WebSocket of version 13, and nothing else";
    client.deny(services.gate.refuse(request, "PROTOCOL_UNSUPPORTED", detail));
    return;
  }
  carryHttp(client, request, services).catch((error: unknown) => {
    // A bug or broken storage: this call must not hang, and the process must hear of it.
    stream.reset(CODE.INTERNAL_ERROR);
    throw error;
  });
}

interface Http2Parts extends HttpRequestParts {
  readonly framing: Framing;
  /** Of an extended CONNECT; null: it is none. */
  readonly protocol: string | null;
}

/**
 * The head taken apart, as HTTP/1.1 would say it: fields were held to RFC 9113, §8 before. What opens a
 * WebSocket is a GET there, and so is judged as one here, with a key that HTTP/2 has no need of.
 */
function partsOf(raw: RawHeaders, last: boolean): Http2Parts {
  const fields: string[] = [];
  const cookies: string[] = [];
  let length: number | null = null;
  const pseudo: Record<string, string> = {};
  for (let i = 0; i < raw.length; i += 2) {
    const [name, value] = [raw[i] as string, raw[i + 1] as string];
    if (name.startsWith(":")) pseudo[name] = value;
    // HTTP/2 may send a cookie's crumbs apart; HTTP/1 has one field for them.
    else if (name === "cookie") cookies.push(value);
    else if (name === "content-length") length = Number(value);
    // Of HTTP/1.1, where ours stands.
    else if (name !== "sec-websocket-key" || pseudo[":protocol"] === undefined) {
      fields.push(name, value);
    }
  }
  if (cookies.length > 0) fields.push("cookie", cookies.join("; "));
  const protocol = pseudo[":protocol"]?.toLowerCase() ?? null;
  const framing: Framing = protocol === null ? framed(length, last) : { kind: "none" };
  if (protocol !== null) {
    const key = randomBytes(KEY_BYTES).toString("base64");
    fields.push("Connection", "Upgrade", "Upgrade", protocol, "Sec-WebSocket-Key", key);
  }
  if (framing.kind === "length") fields.push("content-length", String(framing.bytes));
  else if (framing.kind === "chunked") fields.push("Transfer-Encoding", "chunked");
  const scheme = pseudo[":scheme"];
  return {
    method: protocol === null ? (pseudo[":method"] ?? "") : "GET",
    scheme: scheme === "http" || scheme === "https" ? scheme : null,
    authority: pseudo[":authority"] ?? null,
    pathAndQuery: pseudo[":path"] ?? "",
    fields,
    minor: 1,
    framing,
    protocol,
  };
}

/** RFC 6455, §4.1. */
const KEY_BYTES = 16;

function framed(length: number | null, last: boolean): Framing {
  if (length !== null) return { kind: "length", bytes: length };
  return last ? { kind: "none" } : { kind: "chunked" };
}
