/**
 * DER, as much of it as certificates need (X.690): tag, length, content. What is read has been parsed by
 * OpenSSL before; what is written, OpenSSL and every TLS stack must read.
 */
export type Der = Uint8Array;

/** One element. */
function element(tag: number, content: readonly Uint8Array[]): Der {
  let length = 0;
  for (const part of content) length += part.length;
  // More than 65,535 bytes are in no certificate of ours.
  const size =
    length < 0x80
      ? [length]
      : length < 0x100
        ? [0x81, length]
        : [0x82, (length >> 8) & 255, length & 255];
  const out = new Uint8Array(1 + size.length + length);
  out[0] = tag;
  out.set(size, 1);
  let at = 1 + size.length;
  for (const part of content) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

export const sequence = (...content: Uint8Array[]): Der => element(0x30, content);
export const set = (...content: Uint8Array[]): Der => element(0x31, content);
/** A number that is not negative, as the fewest bytes that say so. */
export const integer = (bytes: Uint8Array): Der => element(0x02, [bytes]);
export const octets = (...content: Uint8Array[]): Der => element(0x04, content);
/** So many bits that they fill bytes, but for `unused` at the end. */
export const bits = (content: Uint8Array, unused = 0): Der =>
  element(0x03, [Uint8Array.of(unused), content]);
export const utf8String = (text: string): Der => element(0x0c, [Buffer.from(text, "utf8")]);
export const TRUE: Der = Uint8Array.of(0x01, 0x01, 0xff);

/** `[n]` around elements (EXPLICIT). */
export const explicit = (n: number, ...content: Uint8Array[]): Der => element(0xa0 + n, content);
/** `[n]` in place of a primitive element's own tag (IMPLICIT). */
export const implicit = (n: number, content: Uint8Array): Der => element(0x80 + n, [content]);

/** `2.5.29.19`: arcs below 2^28, the first two below 40. */
export function oid(dotted: string): Der {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    for (let shift = 21; shift > 0; shift -= 7) {
      if (arc >> shift > 0) bytes.push(0x80 | ((arc >> shift) & 0x7f));
    }
    bytes.push(arc & 0x7f);
  }
  return element(0x06, [Uint8Array.from(bytes)]);
}

/** A moment, to the second: RFC 5280 §4.1.2.5 has two digits of the year until 2049. */
export function time(date: Date): Der {
  const digits = `${date.toISOString().replace(/\.[0-9]+Z$|[-:T]/g, "")}Z`;
  return date.getUTCFullYear() < 2050
    ? element(0x17, [Buffer.from(digits.slice(2), "latin1")])
    : element(0x18, [Buffer.from(digits, "latin1")]);
}

/** The elements inside of an element, each whole. @throws when its lengths do not fit each other. */
export function elementsOf(der: Der): Der[] {
  const found: Der[] = [];
  for (let at = headOf(der); at < der.length; ) {
    const rest = der.subarray(at);
    const next = rest.subarray(0, headOf(rest) + lengthOf(rest));
    if (next.length < headOf(rest) + lengthOf(rest)) throw new Error("DER that ends early");
    found.push(next);
    at += next.length;
  }
  return found;
}

/** What an element holds, without its tag and length. */
export const contentOf = (der: Der): Uint8Array =>
  der.subarray(headOf(der), headOf(der) + lengthOf(der));

/** Bytes of tag and length. */
const headOf = (der: Der): number => ((der[1] ?? 0) < 0x80 ? 2 : 2 + ((der[1] as number) & 0x7f));

function lengthOf(der: Der): number {
  let length = 0;
  const said = der[1] ?? 0;
  if (said < 0x80) return said;
  for (const byte of der.subarray(2, 2 + (said & 0x7f))) length = length * 256 + byte;
  return length;
}

/** RFC 7468, with lines of 64 characters. */
export function pem(label: string, der: Der): string {
  const text = Buffer.from(der.buffer, der.byteOffset, der.length).toString("base64");
  const lines = text.match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
