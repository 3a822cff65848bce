import { type Invalid, invalid } from "./invalid.ts";
import { hostMax } from "./limits.ts";

/**
 * One spelling per host. Names are ASCII, lower case, without a trailing dot; IPv4 is dotted decimal;
 * IPv6 is RFC 5952 in brackets; an IPv4-mapped IPv6 address is that IPv4 address. What could be read
 * in two ways is refused: octal, hexadecimal and short IPv4, zone ids, percent signs, non-ASCII.
 */
export function normaliseHost(host: string): string | Invalid {
  const no = (why: string) => invalid("E_FIELD", `host ${quote(host)} ${why}`);
  if (host === "") return no("is empty");
  if (host.length > hostMax + 2) return no(`is longer than ${hostMax} characters`);
  if (!/^[\x21-\x7e]+$/.test(host)) {
    return no("has characters outside ASCII; write an international name as its A-label (xn--…)");
  }
  if (host.startsWith("[") || host.endsWith("]") || host.includes(":")) {
    const bare = host.startsWith("[") && host.endsWith("]") ? host.slice(1, -1) : host;
    const groups = parseIpv6(bare);
    return groups === null ? no("is not an IPv6 address") : formatIpv6(groups);
  }
  const name = (host.endsWith(".") ? host.slice(0, -1) : host).toLowerCase();
  if (name.length > hostMax) return no(`is longer than ${hostMax} characters`);
  const labels = name.split(".");
  for (const label of labels) {
    if (label === "") return no("has an empty label");
    if (label.length > 63) return no("has a label longer than 63 characters");
    if (!/^[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?$/.test(label)) {
      return no(`has the label ${quote(label)}, which is not letters, digits and inner hyphens`);
    }
    if (label.startsWith("xn--") && !isALabel(label.slice(4))) {
      return no(`has the label ${quote(label)}, which is not valid Punycode`);
    }
  }
  // The rule of URLs: a last label that is a number means an IPv4 address, and nothing else will do.
  if (/^(?:[0-9]+|0x[0-9a-f]*)$/.test(labels.at(-1) as string) && parseIpv4(name) === null) {
    return no("looks like an IPv4 address but is not four decimal numbers without leading zeros");
  }
  return name;
}

const quote = (text: string): string => JSON.stringify(text.slice(0, 80));

/** Four decimal numbers without leading zeros; null: anything else. */
function parseIpv4(text: string): number[] | null {
  const parts = text.split(".");
  if (parts.length !== 4) return null;
  if (!parts.every((p) => /^(?:0|[1-9][0-9]{0,2})$/.test(p) && Number(p) <= 255)) return null;
  return parts.map(Number);
}

/** Eight 16-bit groups of any RFC 4291 spelling without a zone; null: not one. */
function parseIpv6(text: string): number[] | null {
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const lists: number[][] = [];
  for (const [i, half] of halves.entries()) {
    const list = parseGroups(half, i === halves.length - 1);
    if (list === null) return null;
    lists.push(list);
  }
  const [head, tail] = lists as [number[], number[] | undefined];
  if (tail === undefined) return head.length === 8 ? head : null;
  const zeros = 8 - head.length - tail.length;
  // "::" stands for at least one group.
  return zeros < 1 ? null : [...head, ...Array.from({ length: zeros }, () => 0), ...tail];
}

function parseGroups(text: string, last: boolean): number[] | null {
  if (text === "") return [];
  const words = text.split(":");
  const groups: number[] = [];
  for (const [i, word] of words.entries()) {
    if (last && i === words.length - 1 && word.includes(".")) {
      const v4 = parseIpv4(word);
      if (v4 === null) return null;
      const [a, b, c, d] = v4 as [number, number, number, number];
      groups.push(a * 256 + b, c * 256 + d);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(word)) return null;
      groups.push(Number.parseInt(word, 16));
    }
  }
  return groups.length <= 8 ? groups : null;
}

function formatIpv6(groups: number[]): string {
  if (groups.slice(0, 5).every((g) => g === 0) && groups[5] === 0xffff) {
    const [high, low] = groups.slice(6) as [number, number];
    return [high >> 8, high & 0xff, low >> 8, low & 0xff].join(".");
  }
  // The longest run of two or more zero groups shrinks to "::"; of equals, the first.
  let best = { at: -1, length: 1 };
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (groups[at + length] === 0) length++;
    if (length > best.length) best = { at, length };
  }
  const hex = (part: number[]) => part.map((g) => g.toString(16)).join(":");
  if (best.at < 0) return `[${hex(groups)}]`;
  return `[${hex(groups.slice(0, best.at))}::${hex(groups.slice(best.at + best.length))}]`;
}

/** Whether the part after `xn--` decodes (RFC 3492) to something that needed encoding. */
function isALabel(encoded: string): boolean {
  const hyphen = encoded.lastIndexOf("-");
  let count = Math.max(hyphen, 0);
  const digits = encoded.slice(hyphen + 1);
  // A delimiter with nothing before it would be a second spelling.
  if (digits === "" || hyphen === 0) return false;
  let [code, position, bias, at] = [128, 0, 72, 0];
  while (at < digits.length) {
    const start = position;
    for (let weight = 1, k = 36; ; k += 36) {
      const c = digits.charCodeAt(at++);
      const digit = c >= 97 && c <= 122 ? c - 97 : c >= 48 && c <= 57 ? c - 22 : -1;
      if (digit < 0) return false;
      position += digit * weight;
      if (position > 0x7fff_ffff) return false;
      const threshold = Math.min(Math.max(k - bias, 1), 26);
      if (digit < threshold) break;
      weight *= 36 - threshold;
    }
    count++;
    let delta = start === 0 ? Math.floor((position - start) / 700) : (position - start) >> 1;
    delta += Math.floor(delta / count);
    let k = 0;
    for (; delta > 455; k += 36) delta = Math.floor(delta / 35);
    bias = k + Math.floor((36 * delta) / (delta + 38));
    code += Math.floor(position / count);
    // Below U+00A0 are ASCII, which needs no encoding, and control characters.
    if (code < 0xa0 || code > 0x10_ffff || (code >= 0xd800 && code <= 0xdfff)) return false;
    position = (position % count) + 1;
  }
  return true;
}
