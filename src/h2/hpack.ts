import { headerListBytesMax, headerPairsMax } from "../domain/limits.ts";
import { EXPANSION, huffmanDecode } from "./huffman.ts";
import { STATIC_TABLE } from "./static-table.ts";

/** What RFC 7541 adds to the length of each field, for whoever keeps it. */
const FIELD_OVERHEAD = 32;
/** Bytes of a peer's dynamic table: what RFC 7541 gives it, unless it is told otherwise. */
const TABLE_BYTES = 4096;
const STATIC_ENTRIES = STATIC_TABLE.length / 2;
/** No length or index that we would take needs more. */
const INTEGER_MAX = 1 << 24;

/**
 * Reads header blocks (RFC 7541), in the order in which they came: each may index what was sent before
 * it, so none may be left out, whatever becomes of its stream.
 */
export class HpackDecoder {
  /** The last block held more than we take. It was read to its end, as the table needs it. */
  tooLarge = false;
  readonly #names: string[] = [];
  readonly #values: string[] = [];
  #size = 0;
  #capacity = TABLE_BYTES;
  #bytes: Buffer = NOTHING;
  #at = 0;
  #end = 0;
  #failed = false;

  /** @returns fields, flat and in order; null: this is no header block, and the connection is lost. */
  decode(bytes: Buffer, start: number, end: number): string[] | null {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    this.#failed = false;
    this.tooLarge = false;
    const fields: string[] = [];
    let size = 0;
    while (this.#at < end && !this.#failed) {
      const first = bytes[this.#at] as number;
      if ((first & 0xe0) === 0x20) {
        // Only before the first field.
        if (size > 0 || !this.#update(this.#integer(5))) return null;
        continue;
      }
      size += FIELD_OVERHEAD + this.#field(first, fields);
      if (size > headerListBytesMax || fields.length > headerPairsMax * 2) {
        this.tooLarge = true;
        fields.length = 0;
      }
    }
    this.#bytes = NOTHING;
    return this.#failed ? null : fields;
  }

  /** @returns the length of the field's name and value. */
  #field(first: number, into: string[]): number {
    let name: string;
    let value: string;
    if ((first & 0x80) !== 0) {
      const index = this.#integer(7);
      name = this.#entry(index, this.#names, 0);
      value = this.#entry(index, this.#values, 1);
    } else {
      const indexed = (first & 0x40) !== 0;
      const index = this.#integer(indexed ? 6 : 4);
      name = index === 0 ? this.#string() : this.#entry(index, this.#names, 0);
      value = this.#string();
      if (indexed && !this.#failed) this.#insert(name, value);
    }
    into.push(name, value);
    return name.length + value.length;
  }

  #fail(): void {
    this.#failed = true;
    this.#at = this.#end;
  }

  #entry(index: number, table: readonly string[], side: 0 | 1): string {
    const entry =
      index <= STATIC_ENTRIES
        ? STATIC_TABLE[(index - 1) * 2 + side]
        : table[table.length - (index - STATIC_ENTRIES)];
    if (entry === undefined) this.#fail();
    return entry ?? "";
  }

  #integer(prefixBits: number): number {
    const mask = (1 << prefixBits) - 1;
    let value = (this.#bytes[this.#at++] as number) & mask;
    if (value < mask) return value;
    for (let shift = 0; this.#at < this.#end && shift <= 21; shift += 7) {
      const byte = this.#bytes[this.#at++] as number;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (value > INTEGER_MAX) break;
        return value;
      }
    }
    this.#fail();
    return 0;
  }

  #string(): string {
    if (this.#at >= this.#end) {
      this.#fail();
      return "";
    }
    const coded = ((this.#bytes[this.#at] as number) & 0x80) !== 0;
    const length = this.#integer(7);
    const start = this.#at;
    const end = start + length;
    if (end > this.#end) {
      this.#fail();
      return "";
    }
    this.#at = end;
    if (!coded) return this.#bytes.toString("latin1", start, end);
    if (length * EXPANSION > scratch.length) scratch = Buffer.allocUnsafeSlow(length * 2);
    const decoded = huffmanDecode(this.#bytes, start, end, scratch);
    if (decoded < 0) {
      this.#fail();
      return "";
    }
    return scratch.toString("latin1", 0, decoded);
  }

  #update(capacity: number): boolean {
    if (this.#failed || capacity > TABLE_BYTES) return false;
    this.#resize(capacity);
    return true;
  }

  #resize(capacity: number): void {
    this.#capacity = capacity;
    while (this.#size > capacity) {
      const gone = (this.#names.shift() as string).length + (this.#values.shift() as string).length;
      this.#size -= gone + FIELD_OVERHEAD;
    }
  }

  #insert(name: string, value: string): void {
    const size = name.length + value.length + FIELD_OVERHEAD;
    this.#names.push(name);
    this.#values.push(value);
    this.#size += size;
    // A field that does not fit leaves an empty table.
    this.#resize(this.#capacity);
  }
}

const NOTHING = Buffer.alloc(0);
/** Strings are decoded one at a time, in one thread. */
let scratch = Buffer.allocUnsafeSlow(16 * 1024);

const STATIC_INDEX = new Map<string, number>();
for (let i = 0; i < STATIC_ENTRIES; i++) {
  const [name, value] = STATIC_TABLE.slice(i * 2, i * 2 + 2) as [string, string];
  if (value !== "") STATIC_INDEX.set(`${name}: ${value}`, i + 1);
}

/** Bytes that `encodeFields` needs at most. */
export function encodedMax(fields: readonly string[]): number {
  let bytes = 1;
  for (let i = 0; i < fields.length; i++) bytes += (fields[i] as string).length + 6;
  return bytes;
}

/**
 * Writes fields as a header block that needs no table: literals that are never indexed, since a relay
 * does not know what is secret; pseudo-header fields by the static table where it holds them.
 *
 * @param into has room for `encodedMax(fields)` bytes.
 * @returns where the block ends.
 */
export function encodeFields(fields: readonly string[], into: Buffer, start: number): number {
  let at = start;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    const value = fields[i + 1] as string;
    if (name.charCodeAt(0) === COLON) {
      const index = STATIC_INDEX.get(`${name}: ${value}`);
      if (index !== undefined) {
        into[at++] = 0x80 | index;
        continue;
      }
    }
    into[at++] = NEVER_INDEXED;
    at = writeText(name, into, writeLength(name.length, into, at));
    at = writeText(value, into, writeLength(value.length, into, at));
  }
  return at;
}

const COLON = 0x3a;
const NEVER_INDEXED = 0x10;
/** Instruction to the reader: our table has no room, and never will. */
export const TABLE_SIZE_0 = 0x20;

function writeLength(length: number, into: Buffer, start: number): number {
  let at = start;
  if (length < 127) {
    into[at++] = length;
    return at;
  }
  into[at++] = 127;
  let rest = length - 127;
  while (rest >= 128) {
    into[at++] = (rest & 127) | 128;
    rest >>>= 7;
  }
  into[at++] = rest;
  return at;
}

/** Short texts are quicker to write here than by a call out of JavaScript. */
const SHORT = 24;

function writeText(text: string, into: Buffer, at: number): number {
  const { length } = text;
  if (length > SHORT) return at + into.write(text, at, length, "latin1");
  for (let i = 0; i < length; i++) into[at + i] = text.charCodeAt(i);
  return at + length;
}
