/** Bytes and their spellings. Every spelling is strict: one text per value, anything else throws. */

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function concat(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  let length = 0;
  for (const part of parts) length += part.length;
  const out = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Takes the same time wherever the difference is; lengths are not secret. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= (a[i] as number) ^ (b[i] as number);
  return difference === 0;
}

/** Lexicographic: negative, zero or positive, for sorting. */
export function compare(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

const HEX = Array.from("0123456789abcdef", (digit) => digit.charCodeAt(0));
/** Bytes told at once: what is put together from single ones is a tree of them until it is read. */
const HEX_PIECE = 512;

/** Lower case. */
export function toHex(bytes: Uint8Array): string {
  // Most are hashes and keys, and names of what is looked up: these are written in the same place each time.
  if (bytes.length === 32) return hexOf(bytes, DIGITS_OF_32);
  let out = "";
  for (let at = 0; at < bytes.length; at += HEX_PIECE) {
    const piece = bytes.subarray(at, at + HEX_PIECE);
    out += hexOf(piece, []);
  }
  return out;
}

const DIGITS_OF_32: number[] = [];

/** @param digits twice as long as `bytes`, or empty; what is in it is written over. */
function hexOf(bytes: Uint8Array, digits: number[]): string {
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number;
    digits[2 * i] = HEX[byte >> 4] as number;
    digits[2 * i + 1] = HEX[byte & 15] as number;
  }
  return String.fromCharCode(...digits);
}

/** @throws TypeError unless the text is pairs of lower-case hex digits and nothing else. */
export function fromHex(hex: string): Uint8Array {
  if (hex.length % 2 !== 0 || !/^[0-9a-f]*$/.test(hex)) {
    throw new TypeError("not lower-case hexadecimal");
  }
  const out = new Uint8Array(hex.length / 2);
  for (let i = 0; i < out.length; i++) {
    out[i] = Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  }
  return out;
}

/** Standard alphabet, padded (RFC 4648 §4). */
export function toBase64(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** @throws TypeError unless the text is exactly what `toBase64` would write. */
export function fromBase64(base64: string): Uint8Array {
  let binary: string;
  try {
    binary = atob(base64);
  } catch {
    throw new TypeError("not base64");
  }
  // atob forgives spaces, missing padding and stray low bits; one spelling a value does not.
  if (btoa(binary) !== base64) throw new TypeError("not canonical base64");
  return Uint8Array.from(binary, (char) => char.charCodeAt(0));
}

/** URL-safe alphabet, no padding (RFC 4648 §5). */
export const toBase64Url = (bytes: Uint8Array): string =>
  toBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");

/** @throws TypeError unless the text is exactly what `toBase64Url` would write. */
export function fromBase64Url(base64url: string): Uint8Array {
  if (!/^[A-Za-z0-9_-]*$/.test(base64url)) throw new TypeError("not base64url");
  const padding = "=".repeat((4 - (base64url.length % 4)) % 4);
  return fromBase64(base64url.replaceAll("-", "+").replaceAll("_", "/") + padding);
}

/** Eight bytes, big-endian. `n` is a whole number from 0 to 2^53 − 1. */
export function u64be(n: number): Uint8Array {
  if (!Number.isSafeInteger(n) || n < 0) throw new RangeError("must be from 0 to 2^53 − 1");
  const high = Math.floor(n / 0x1_0000_0000);
  const low = n % 0x1_0000_0000;
  // Masking to bytes is the array's own work.
  return Uint8Array.of(
    high >>> 24,
    high >>> 16,
    high >>> 8,
    high,
    low >>> 24,
    low >>> 16,
    low >>> 8,
    low,
  );
}

/** @throws TypeError on a lone surrogate, which has no bytes of its own. */
export function utf8(text: string): Uint8Array {
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 0x7f) return encode(text);
    out[i] = unit;
  }
  return out;
}

function encode(text: string): Uint8Array {
  if (!text.isWellFormed()) throw new TypeError("text has a lone surrogate");
  return encoder.encode(text);
}

/** @throws TypeError when the bytes are not UTF-8. */
export const text = (bytes: Uint8Array): string => decoder.decode(bytes);
