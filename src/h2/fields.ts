/**
 * Header fields as HTTP/2 carries them: flat lists `[name, value, name, value, …]`, in order and with
 * every repeat, each character one byte. A merged object would join repeated metadata with commas,
 * which breaks `-bin`.
 */
export type RawHeaders = readonly string[];

/** By character: 1 where it may stand in a field's name. */
const NAME = new Uint8Array(256);
for (const c of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") NAME[c.charCodeAt(0)] = 1;

/** Fields that speak of one HTTP/1 connection, which has no place in HTTP/2. */
const OF_CONNECTIONS = new Set([
  "connection",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

const [SP, TAB, DEL, COLON] = [0x20, 0x09, 0x7f, 0x3a];

/** What a request or an answer declares of itself beside its fields. */
export interface Declared {
  /** `:status`; 0 of requests and trailers. */
  readonly status: number;
  /** `content-length`; -1: not said. */
  readonly contentLength: number;
}

/** A header block that HTTP/2 forbids (RFC 9113 §8), or what it declares. */
export const requestHead = (fields: RawHeaders): Declared | string => read(fields, "request");
/** The same where `:protocol` may stand: RFC 8441 was offered. */
export const extendedHead = (fields: RawHeaders): Declared | string => read(fields, "extended");
export const answerHead = (fields: RawHeaders): Declared | string => read(fields, "answer");
export const trailers = (fields: RawHeaders): Declared | string => read(fields, "trailers");

type Kind = "request" | "extended" | "answer" | "trailers";

function read(fields: RawHeaders, kind: Kind): Declared | string {
  let regular = false;
  let pseudo = 0;
  let contentLength = -1;
  let status = 0;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    const value = fields[i + 1] as string;
    if (!isValue(value)) return `the value of ${JSON.stringify(name)} holds what none may`;
    if (name.charCodeAt(0) === COLON) {
      const bit = pseudoBit(name, kind);
      if (bit === 0 || regular) return `${JSON.stringify(name)} is out of place`;
      if ((pseudo & bit) !== 0) return `${name} comes twice`;
      pseudo |= bit;
      if (bit === STATUS) status = /^[1-5][0-9][0-9]$/.test(value) ? Number(value) : 0;
      continue;
    }
    regular = true;
    if (!isName(name)) return `${JSON.stringify(name)} is no field name`;
    if (OF_CONNECTIONS.has(name)) return `${name} has no place in HTTP/2`;
    if (name === "te" && value !== "trailers") return "te may say trailers and nothing else";
    if (name === "content-length") {
      if (!/^[0-9]{1,15}$/.test(value)) return "content-length is malformed";
      if (contentLength >= 0 && contentLength !== Number(value))
        return "content-length is said twice";
      contentLength = Number(value);
    }
  }
  if (kind === "request" || kind === "extended") {
    const wrong = requestFault(fields, pseudo, contentLength);
    if (wrong !== null) return wrong;
  }
  if (kind === "answer" && (status === 0 || status === 101))
    return ":status is missing or malformed";
  return { status, contentLength };
}

const [METHOD, SCHEME, PATH, AUTHORITY, STATUS, PROTOCOL] = [1, 2, 4, 8, 16, 32] as const;

function pseudoBit(name: string, kind: Kind): number {
  if (kind === "trailers") return 0;
  if (kind === "answer") return name === ":status" ? STATUS : 0;
  if (name === ":method") return METHOD;
  if (name === ":scheme") return SCHEME;
  if (name === ":path") return PATH;
  if (name === ":protocol") return kind === "extended" ? PROTOCOL : 0;
  return name === ":authority" ? AUTHORITY : 0;
}

function requestFault(fields: RawHeaders, pseudo: number, contentLength: number): string | null {
  // They stand first, each once.
  const said = (name: string): string =>
    fields[fields.findIndex((word, i) => i % 2 === 0 && word === name) + 1] as string;
  if ((pseudo & METHOD) === 0 || said(":method") === "") return ":method is missing";
  if ((pseudo & PROTOCOL) !== 0) {
    // An extended CONNECT, RFC 8441: it names its place as any request does, and its stream stays open.
    if (said(":method") !== "CONNECT") return ":protocol stands beside CONNECT alone";
    if ((pseudo & AUTHORITY) === 0) return ":authority is missing";
    if (contentLength >= 0) return "CONNECT has no length";
  } else if (said(":method") === "CONNECT") {
    return (pseudo & (SCHEME | PATH)) === 0 && (pseudo & AUTHORITY) !== 0
      ? null
      : "CONNECT takes an authority and nothing else";
  }
  if ((pseudo & SCHEME) === 0) return ":scheme is missing";
  if ((pseudo & PATH) === 0 || !/^(?:\/|\*$)/.test(said(":path"))) {
    return ":path is missing or does not begin with a slash";
  }
  return null;
}

function isName(name: string): boolean {
  if (name.length === 0) return false;
  for (let i = 0; i < name.length; i++) if (NAME[name.charCodeAt(i)] !== 1) return false;
  return true;
}

/** Anything but control characters, and no space at either end. */
function isValue(value: string): boolean {
  const last = value.length - 1;
  for (let i = 0; i <= last; i++) {
    const c = value.charCodeAt(i);
    if (c > SP && c !== DEL) continue;
    if ((c !== SP && c !== TAB) || i === 0 || i === last) return false;
  }
  return true;
}
