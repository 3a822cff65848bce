import { headerListBytesMax, headerPairsMax } from "../../src/domain/limits.ts";

/**
 * Field lines as they came: `[name, value, name, value, …]`, in order, with every repeat and with the
 * spelling of each name. Bytes outside ASCII are Latin-1 characters, and go back as the same bytes.
 */
export type RawFields = readonly string[];

/** What is wrong with bytes that should be HTTP/1. Expected, so a value. */
export interface Malformed {
  readonly malformed: true;
  /** What a server answers to it: 400, or 431 for too much of a head. */
  readonly status: 400 | 431;
  readonly detail: string;
}

export const malformed = (detail: string, status: 400 | 431 = 400): Malformed => ({
  malformed: true,
  status,
  detail,
});

export interface RequestHead {
  readonly method: string;
  /** As it stands in the request line. */
  readonly target: string;
  /** The 1 of `HTTP/1.1`, or 0. */
  readonly minor: 0 | 1;
  readonly fields: RawFields;
}

export interface ResponseHead {
  readonly minor: 0 | 1;
  readonly status: number;
  /** The reason phrase, as it came; may be empty. */
  readonly phrase: string;
  readonly fields: RawFields;
}

const [CR, LF] = [13, 10];

/**
 * Where a head ends: the index behind its empty line; -1: not yet. Lines end in CR LF and nothing else,
 * which is judged as soon as a line is there, so that nobody waits for an end that will not come.
 *
 * @param from how far earlier looks came.
 */
export function headEnd(bytes: Uint8Array, from: number): number | Malformed {
  for (let at = bytes.indexOf(LF, from); at >= 0; at = bytes.indexOf(LF, at + 1)) {
    if (bytes[at - 1] !== CR) return malformed("a line ends without CR");
    if (at === 1) return malformed("it begins with an empty line");
    if (at >= headerListBytesMax) break;
    if (bytes[at - 2] === LF) return at + 1;
  }
  if (bytes.length > headerListBytesMax) {
    return malformed(`the head is longer than ${headerListBytesMax} bytes`, 431);
  }
  return -1;
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Visible characters, inner spaces and tabs, and what is not ASCII. No control characters. */
const VALUE = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/;

/** `GET /path HTTP/1.1` and its fields: one space between the parts, nothing else. */
export function parseRequestHead(head: Uint8Array): RequestHead | Malformed {
  const [first, lines] = split(head);
  const parts = /^([A-Z]{1,16}) ([\x21-\x7e]+) HTTP\/1\.([01])$/.exec(first);
  if (parts === null) return malformed("the request line is not METHOD TARGET HTTP/1.1");
  const fields = parseFields(lines);
  if ("malformed" in fields) return fields;
  const [, method, target, minor] = parts as unknown as [string, string, string, string];
  return { method, target, minor: minor === "1" ? 1 : 0, fields };
}

/** `HTTP/1.1 200 OK` and its fields. */
export function parseResponseHead(head: Uint8Array): ResponseHead | Malformed {
  const [first, lines] = split(head);
  const parts = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?$/.exec(first);
  if (parts === null) return malformed("the status line is not HTTP/1.1 STATUS REASON");
  const fields = parseFields(lines);
  if ("malformed" in fields) return fields;
  const [, minor, status, phrase] = parts as unknown as [string, string, string, string?];
  return { minor: minor === "1" ? 1 : 0, status: Number(status), phrase: phrase ?? "", fields };
}

function split(head: Uint8Array): [string, string[]] {
  const text = Buffer.from(head.buffer, head.byteOffset, head.length).toString("latin1");
  const [first, ...lines] = text.slice(0, -4).split("\r\n");
  return [first as string, lines];
}

/** Field lines, of a head or of trailers. */
export function parseFields(lines: readonly string[]): RawFields | Malformed {
  if (lines.length > headerPairsMax) {
    return malformed(`there are more than ${headerPairsMax} fields`, 431);
  }
  const fields: string[] = [];
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0));
    if (!TOKEN.test(name)) {
      return malformed(
        /^[\t ]/.test(line)
          ? "a field goes on over a second line"
          : "a field line does not begin with a name and a colon",
      );
    }
    const value = trim(line, colon + 1);
    if (!VALUE.test(value)) return malformed(`the field ${name} has a control character`);
    fields.push(name, value);
  }
  return fields;
}

/** Without the spaces and tabs around it. No regular expression: they are slow on long runs. */
function trim(line: string, from: number): string {
  let [start, end] = [from, line.length];
  while (start < end && isBlank(line, start)) start++;
  while (end > start && isBlank(line, end - 1)) end--;
  return line.slice(start, end);
}

const isBlank = (line: string, at: number): boolean => line[at] === " " || line[at] === "\t";

/** A head as it is sent. Its fields were parsed, or are our own. */
export function formatHead(first: string, fields: RawFields): Buffer {
  let text = `${first}\r\n`;
  for (let i = 0; i < fields.length; i += 2) text += `${fields[i]}: ${fields[i + 1]}\r\n`;
  return Buffer.from(`${text}\r\n`, "latin1");
}
