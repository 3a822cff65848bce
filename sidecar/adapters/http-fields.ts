import { type Malformed, malformed, type RawFields } from "./http-head.ts";

/** All values of a field, in order. Names are compared without case. */
export function valuesOf(fields: RawFields, name: string): string[] {
  const found: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    if ((fields[i] as string).toLowerCase() === name) found.push(fields[i + 1] as string);
  }
  return found;
}

/** The elements of a field that is a list, over all its lines, in lower case. */
export const listOf = (fields: RawFields, name: string): string[] =>
  valuesOf(fields, name)
    .flatMap((value) => value.split(","))
    .map((element) => element.trim().toLowerCase())
    .filter((element) => element !== "");

/** Sorted, unique, lower case: what a receipt tells of fields. */
export function fieldNames(fields: RawFields): readonly string[] {
  const names = new Set<string>();
  for (let i = 0; i < fields.length; i += 2) names.add((fields[i] as string).toLowerCase());
  return [...names].sort();
}

/**
 * A trailer that some servers would merge into a field of the head, which was judged without it; null:
 * there is none. `-` and `_` are one letter to those that do.
 */
export function repeatedName(head: RawFields, trailers: RawFields): string | null {
  if (trailers.length === 0) return null;
  const plain = (name: string): string => name.replaceAll("_", "-");
  const judged = new Set(fieldNames(head).map(plain));
  return fieldNames(trailers).find((name) => judged.has(plain(name))) ?? null;
}

/** How the length of a body is told. */
export type Framing =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly bytes: number }
  | { readonly kind: "chunked" }
  /** To the end of the connection: responses alone. */
  | { readonly kind: "close" };

const NONE: Framing = { kind: "none" };

/**
 * How a request's body is framed. One length, written one way; or chunked alone, by HTTP/1.1. All else
 * is how a request hides another.
 */
export function requestFraming(fields: RawFields, minor: 0 | 1): Framing | Malformed {
  const framing = declared(fields);
  if ("malformed" in framing) return framing;
  if (framing.kind === "chunked" && minor === 0) {
    return malformed("transfer-encoding does not stand in an HTTP/1.0 message");
  }
  return framing.kind === "close" ? NONE : framing;
}

/** How a response's body is framed; some have none whatever they say. */
export function responseFraming(
  method: string,
  status: number,
  fields: RawFields,
): Framing | Malformed {
  const framing = declared(fields);
  if ("malformed" in framing) return framing;
  // Its framing would be taken away on the way to the client.
  const wrong = neverListed(fields);
  if (wrong !== undefined) return malformed(`connection lists ${wrong}`);
  const bodyless = method === "HEAD" || status < 200 || status === 204 || status === 304;
  return bodyless ? NONE : framing;
}

function declared(fields: RawFields): Framing | Malformed {
  const encodings = valuesOf(fields, "transfer-encoding");
  const lengths = valuesOf(fields, "content-length");
  if (encodings.length > 0) {
    if (lengths.length > 0) return malformed("it has content-length and transfer-encoding");
    if (encodings.length > 1 || (encodings[0] as string).toLowerCase() !== "chunked") {
      return malformed("its transfer-encoding is not chunked alone");
    }
    return { kind: "chunked" };
  }
  if (lengths.length === 0) return { kind: "close" };
  const [length] = lengths as [string];
  const bytes = Number(length);
  if (lengths.length > 1) return malformed("content-length stands there twice");
  if (!/^(?:0|[1-9][0-9]{0,15})$/.test(length) || !Number.isSafeInteger(bytes)) {
    return malformed("content-length is not a decimal number");
  }
  return { kind: "length", bytes };
}

/** Fields of one connection, and our own. What frames the body stays: it is passed on as it was framed. */
const HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "upgrade",
  "http2-settings",
  "dragons-receipt",
]);
/** Whoever names them in `connection` wants the next server to read another message. */
const NEVER_LISTED = ["host", "content-length", "transfer-encoding"];

const neverListed = (fields: RawFields): string | undefined =>
  listOf(fields, "connection").find((name) => NEVER_LISTED.includes(name));

/** Names that some gateways take for those of framing fields: CGI has one letter for `-` and `_`. */
const CONFUSED = /^(?:content|transfer)[_-](?:length|encoding)$/;

/** A field that reads as another to some servers; undefined: none does. */
export const confusedName = (fields: RawFields): string | undefined =>
  fields.find((name, i) => i % 2 === 0 && name.includes("_") && CONFUSED.test(name.toLowerCase()));

/** What goes on to the other side; or why the fields cannot be taken apart. */
export function forwarded(fields: RawFields): string[] | Malformed {
  const listed = listOf(fields, "connection");
  const wrong = neverListed(fields);
  if (wrong !== undefined) return malformed(`connection lists ${wrong}`);
  return without(fields, (name) => isOfHop(name) || listed.includes(name));
}

const isOfHop = (name: string): boolean =>
  HOP.has(name) || name.startsWith("proxy-") || name.startsWith("x-dragons-");

/** RFC 9110, §6.5.1: what some servers would merge into the head after it was judged. */
const NEVER_TRAILING = new Set([
  "connection",
  "content-length",
  "host",
  "te",
  "transfer-encoding",
  "upgrade",
]);

/** Whether trailers would frame or address a message. */
export const frames = (trailers: RawFields): boolean =>
  trailers.some((name, i) => i % 2 === 0 && NEVER_TRAILING.has(name.toLowerCase()));

export const FRAMING_TRAILER = malformed("a trailer would frame or address a message");

/** What of trailers goes on to the other side. */
export const trailing = (trailers: RawFields): string[] => without(trailers, isOfHop);

/** What of an answer's fields the agent is told: nothing that leads it round us. */
export function passedOn(fields: RawFields): string[] {
  const kept = forwarded(fields);
  return "malformed" in kept ? [] : without(kept, (name) => name === "alt-svc");
}

/** The fields but those whose name, in lower case, is not wanted. */
export function without(fields: RawFields, unwanted: (name: string) => boolean): string[] {
  const out: string[] = [];
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    if (!unwanted(name.toLowerCase())) out.push(name, fields[i + 1] as string);
  }
  return out;
}

/** Whether the sender of a message keeps its connection open after it. */
export function keepsAlive(fields: RawFields, minor: 0 | 1): boolean {
  const options = [...listOf(fields, "connection"), ...listOf(fields, "proxy-connection")];
  if (options.includes("close")) return false;
  return minor === 1 || options.includes("keep-alive");
}
