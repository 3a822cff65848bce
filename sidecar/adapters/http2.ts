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
  const { framing, ...parts } = partsOf(raw, last);
  const client = new Http2Client(stream, parts.method, framing, last);
  const request = readHttpRequest(parts, ingress);
  if ("unreadable" in request) {
    client.deny(services.gate.refuse(request, request.reason, request.detail));
    return;
  }
  carryHttp(client, request, services).catch((error: unknown) => {
    // A bug or broken storage: this call must not hang, and the process must hear of it.
    stream.reset(CODE.INTERNAL_ERROR);
    throw error;
  });
}

/** The head taken apart, as HTTP/1.1 would say it: fields were held to RFC 9113, §8 before. */
function partsOf(raw: RawHeaders, last: boolean): HttpRequestParts & { framing: Framing } {
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
    else fields.push(name, value);
  }
  if (cookies.length > 0) fields.push("cookie", cookies.join("; "));
  const framing = framed(length, last);
  if (framing.kind === "length") fields.push("content-length", String(framing.bytes));
  else if (framing.kind === "chunked") fields.push("Transfer-Encoding", "chunked");
  const scheme = pseudo[":scheme"];
  return {
    method: pseudo[":method"] ?? "",
    scheme: scheme === "http" || scheme === "https" ? scheme : null,
    authority: pseudo[":authority"] ?? null,
    pathAndQuery: pseudo[":path"] ?? "",
    fields,
    minor: 1,
    framing,
  };
}

function framed(length: number | null, last: boolean): Framing {
  if (length !== null) return { kind: "length", bytes: length };
  return last ? { kind: "none" } : { kind: "chunked" };
}
