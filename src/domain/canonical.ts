/**
 * The strict codec of signed bodies: proto3 with exactly one encoding per value.
 *
 * Fields ascend, varints are minimal, default values are never written, nothing is unknown, nothing
 * trails. Unsigned 64-bit values stop at 2^53 − 1, so that every language counts them alike.
 * Profile: Cosmos ADR-027, without maps, floats, oneofs and Any. Any proto3 library reads what this
 * writes; only this reads nothing else.
 */

export type CodecCode =
  | "E_ENC_TRUNCATED"
  | "E_ENC_VARINT"
  | "E_ENC_RANGE"
  | "E_ENC_ORDER"
  | "E_ENC_WIRETYPE"
  | "E_ENC_UNKNOWN_FIELD"
  | "E_ENC_DEFAULT"
  | "E_ENC_LENGTH"
  | "E_ENC_UTF8"
  | "E_ENC_ENUM";

/** A body that is not in the strict profile. `field` is a dotted path such as `lease.scopes.name`. */
export class CodecError extends Error {
  override readonly name = "CodecError";
  readonly code: CodecCode;
  readonly field: string;
  constructor(code: CodecCode, field: string, detail: string) {
    super(`${field}: ${detail} (${code})`);
    this.code = code;
    this.field = field;
  }
}

/** What went wrong, before it is known where: messages add their field on the way out. */
class Flaw {
  readonly code: CodecCode;
  readonly detail: string;
  readonly path: string[] = [];
  constructor(code: CodecCode, detail: string) {
    this.code = code;
    this.detail = detail;
  }
}

const VARINT = 0;
const BYTES = 2;

/** How one field's value is told, measured, written and read. `T` is its value in TypeScript. */
export interface FieldType<T> {
  readonly wire: typeof VARINT | typeof BYTES;
  readonly repeated: boolean;
  /** Whether `absent` makes a value that its owner may change, so that each needs its own. */
  readonly fresh: boolean;
  /** The value of an absent field. */
  absent(): T;
  isAbsent(value: T): boolean;
  /** Encodes everything after the tag; a repeated type writes its tags itself. */
  write(out: Writer, value: T): void;
  read(input: Reader): T;
  /** For a repeated type: adds one element in place. */
  append?(list: T, input: Reader): void;
}

export interface Field<T> {
  readonly number: number;
  readonly type: FieldType<T>;
}

type Fields = Record<string, Field<unknown>>;
type ValueOf<F> = F extends Field<infer T> ? T : never;
export type MessageValue<F extends Fields> = { [K in keyof F]: ValueOf<F[K]> };

/** A message's one encoding. `Infer<typeof X>` is its value type. */
export interface Codec<T> {
  readonly name: string;
  encode(value: T): Uint8Array;
  /** @throws CodecError when the bytes are not the one encoding of a value. */
  decode(bytes: Uint8Array): T;
  /**
   * As `decode`, but what is bytes in the value are views of `bytes`: for what is looked at and let go. What is
   * kept would keep all of `bytes`, and whatever else lies in the same memory.
   */
  view(bytes: Uint8Array): T;
}
export type Infer<C> = C extends Codec<infer T> ? T : never;

const utf8 = new TextEncoder();
const utf8Strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const EMPTY = new Uint8Array(0);

/** Numbers are split here into two halves that fit the engine's fast integers. */
const LOW_BITS = 0x1000_0000;

/** Bytes of memory that encodings are written into, one after the other, until it is full. */
const SLAB_BYTES = 16 * 1024;
/** Bytes of room with which an encoding begins, so that few of them have to move. */
const ROOM_BYTES = 1024;

class Writer {
  #bytes: Uint8Array = new Uint8Array(SLAB_BYTES);
  /** Where this encoding began: what is before it has been handed out, and is never written again. */
  #from = 0;
  #length = 0;

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const written = this.#length - this.#from;
    const grown = new Uint8Array(Math.max(SLAB_BYTES, written * 2, written + more));
    grown.set(this.#bytes.subarray(this.#from, this.#length));
    this.#bytes = grown;
    this.#from = 0;
    this.#length = written;
  }

  varint(value: number): void {
    this.#reserve(10);
    let rest = value;
    if (value >= LOW_BITS) {
      let low = value % LOW_BITS;
      for (let i = 0; i < 4; i++) {
        this.#bytes[this.#length++] = (low & 0x7f) | 0x80;
        low >>>= 7;
      }
      rest = Math.floor(value / LOW_BITS);
    }
    while (rest > 0x7f) {
      this.#bytes[this.#length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#length++] = rest;
  }

  block(value: Uint8Array): void {
    this.varint(value.length);
    this.#reserve(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  text(value: string): void {
    this.#reserve(value.length * 3 + 10);
    const mark = this.open();
    // Names and ids are ASCII: a plain loop beats a call out of the engine.
    for (let i = 0; i < value.length; i++) {
      const unit = value.charCodeAt(i);
      if (unit > 0x7f) {
        if (!value.isWellFormed()) throw new Flaw("E_ENC_UTF8", "has a lone surrogate");
        this.#length = this.#from + mark;
        this.#length += utf8.encodeInto(value, this.#bytes.subarray(this.#length)).written;
        break;
      }
      this.#bytes[this.#length++] = unit;
    }
    this.close(mark);
  }

  /** Begins a block whose length is not known yet. What is written next is its content. */
  open(): number {
    this.#reserve(1);
    return ++this.#length - this.#from;
  }

  /** Ends the block that began at `mark`, and tells its length before it. */
  close(mark: number): void {
    const length = this.#length - this.#from - mark;
    if (length < 0x80) {
      this.#bytes[this.#from + mark - 1] = length;
      return;
    }
    // One byte of length is the common case; a longer block moves up by the difference.
    let more = 0;
    for (let rest = length >>> 7; rest > 0; rest >>>= 7) more++;
    this.#reserve(more);
    const at = this.#from + mark;
    this.#bytes.copyWithin(at + more, at, this.#length);
    this.#length = at - 1;
    this.varint(length);
    this.#length += length;
  }

  start(): void {
    // What an encoding that failed had written is written over.
    this.#length = this.#from;
    if (this.#bytes.length === SLAB_BYTES && this.#from + ROOM_BYTES <= SLAB_BYTES) return;
    this.#bytes = new Uint8Array(SLAB_BYTES);
    this.#from = 0;
    this.#length = 0;
  }

  /** What was written, as a view of its own part of a slab: memory of its own would cost more than it. */
  finish(): Uint8Array {
    const out = this.#bytes.subarray(this.#from, this.#length);
    this.#from = this.#length;
    return out;
  }
}

/** Texts of each length up to an id's are put together in the same place each time. */
const CODES = Array.from({ length: 41 }, (_, length) => Array.from({ length }, () => 0));

class Reader {
  readonly bytes: Uint8Array;
  end: number;
  at = 0;
  readonly #copies: boolean;
  constructor(bytes: Uint8Array, copies: boolean) {
    this.bytes = bytes;
    this.end = bytes.length;
    this.#copies = copies;
  }

  varint(): number {
    const first = this.at < this.end ? (this.bytes[this.at] as number) : 0x80;
    if (first < 0x80) {
      this.at++;
      return first;
    }
    let low = 0;
    let high = 0;
    // Eight bytes hold 2^56: a ninth is always too much.
    for (let i = 0; i < 8; i++) {
      if (this.at >= this.end) throw new Flaw("E_ENC_TRUNCATED", "ends inside a varint");
      const byte = this.bytes[this.at++] as number;
      if (i < 4) low |= (byte & 0x7f) << (7 * i);
      else high |= (byte & 0x7f) << (7 * (i - 4));
      if (byte < 0x80) {
        if (byte === 0) throw new Flaw("E_ENC_VARINT", "varint is longer than it need be");
        const value = high * LOW_BITS + low;
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
    }
    throw new Flaw("E_ENC_RANGE", "varint is above 2^53 − 1");
  }

  /** Reads a length and returns where the block ends. */
  blockEnd(): number {
    const length = this.varint();
    const left = this.end - this.at;
    if (length > left) throw new Flaw("E_ENC_TRUNCATED", `wants ${length} bytes, ${left} left`);
    return this.at + length;
  }

  /** A copy, unless views are wanted: what was decoded must not change when the buffer that carried it does. */
  block(): Uint8Array {
    const end = this.blockEnd();
    const from = this.at;
    this.at = end;
    return this.#copies ? this.bytes.slice(from, end) : this.bytes.subarray(from, end);
  }

  text(): string {
    const end = this.blockEnd();
    const from = this.at;
    this.at = end;
    return this.#ascii(from, end) ?? this.#utf8(from, end);
  }

  /** Names and ids are short and ASCII: told by a plain loop, they need no view and no call out of the engine. */
  #ascii(from: number, end: number): string | null {
    const codes = CODES[end - from];
    if (codes === undefined) return null;
    for (let i = from; i < end; i++) {
      const byte = this.bytes[i] as number;
      if (byte > 0x7f) return null;
      codes[i - from] = byte;
    }
    return String.fromCharCode(...codes);
  }

  #utf8(from: number, end: number): string {
    try {
      return utf8Strict.decode(this.bytes.subarray(from, end));
    } catch {
      throw new Flaw("E_ENC_UTF8", "is not UTF-8");
    }
  }
}

const field = <T>(number: number, type: FieldType<T>): Field<T> => ({ number, type });

/** An unsigned integer up to 2^53 − 1: counts, microseconds since the epoch, versions. */
export const u64 = (number: number, max: number = Number.MAX_SAFE_INTEGER): Field<number> => {
  const check = (value: number): number => {
    if (!Number.isSafeInteger(value) || value < 0 || value > max) {
      throw new Flaw("E_ENC_RANGE", `must be a whole number from 0 to ${max}`);
    }
    return value;
  };
  return field(number, {
    wire: VARINT,
    repeated: false,
    fresh: false,
    absent: () => 0,
    isAbsent: (v) => v === 0,
    write: (out, v) => out.varint(check(v)),
    read: (input) => check(input.varint()),
  });
};

export const u32 = (number: number): Field<number> => u64(number, 0xffff_ffff);

export const bool = (number: number): Field<boolean> =>
  field(number, {
    wire: VARINT,
    repeated: false,
    fresh: false,
    absent: () => false,
    isAbsent: (v) => !v,
    write: (out) => out.varint(1),
    read: (input) => {
      const value = input.varint();
      if (value > 1) throw new Flaw("E_ENC_RANGE", "must be 0 or 1");
      return value === 1;
    },
  });

/** A closed enum given as `["UNSPECIFIED", "A", "B"]`: the index is the wire value, 0 is absent. */
export const oneOf = <const N extends readonly string[]>(
  number: number,
  names: N,
): Field<N[number]> => {
  const values = new Map(names.map((n, i) => [n, i] as const));
  return field<N[number]>(number, {
    wire: VARINT,
    repeated: false,
    fresh: false,
    absent: () => names[0] as N[number],
    isAbsent: (v) => v === names[0],
    write: (out, v) => {
      const value = values.get(v);
      if (value === undefined) throw new Flaw("E_ENC_ENUM", `unknown value ${v}`);
      out.varint(value);
    },
    read: (input) => {
      const value = input.varint();
      const name = names[value];
      if (name === undefined) throw new Flaw("E_ENC_ENUM", `unknown value ${value}`);
      return name;
    },
  });
};

export const str = (number: number): Field<string> =>
  field(number, {
    wire: BYTES,
    repeated: false,
    fresh: false,
    absent: () => "",
    isAbsent: (v) => v === "",
    write: (out, v) => out.text(v),
    read: (input) => input.text(),
  });

/** Bytes; with `length`, either absent or exactly that long. */
export const bytes = (number: number, length?: number): Field<Uint8Array> => {
  const check = (value: Uint8Array): Uint8Array => {
    if (length !== undefined && value.length !== length) {
      throw new Flaw("E_ENC_LENGTH", `must be ${length} bytes, has ${value.length}`);
    }
    return value;
  };
  return field<Uint8Array>(number, {
    wire: BYTES,
    repeated: false,
    fresh: false,
    absent: () => EMPTY,
    isAbsent: (v) => v.length === 0,
    write: (out, v) => out.block(check(v)),
    read: (input) => check(input.block()),
  });
};

/** A message inside a message. Absent and empty are the same, as strictness demands. */
export const nested = <T>(number: number, inner: MessageCodec<T>): Field<T> =>
  field(number, {
    wire: BYTES,
    repeated: false,
    fresh: true,
    absent: () => inner.empty(),
    isAbsent: (v) => inner.isEmpty(v),
    write: (out, v) => {
      const mark = out.open();
      inner.writeTo(out, v);
      out.close(mark);
    },
    read: (input) => inner.readBlock(input),
  });

/** A repeated message, string or bytes field. Elements may be empty; order is the writer's. */
export const repeated = <T>(element: Field<T>): Field<T[]> => {
  const { number, type } = element;
  if (type.wire !== BYTES || type.repeated)
    throw new TypeError("only length-delimited fields repeat in this profile");
  const tag = number * 8 + BYTES;
  return field<T[]>(number, {
    wire: BYTES,
    repeated: true,
    fresh: true,
    absent: () => [],
    isAbsent: (v) => v.length === 0,
    write: (out, list) => {
      for (const value of list) {
        out.varint(tag);
        type.write(out, value);
      }
    },
    read: (input) => [type.read(input)],
    append: (list, input) => {
      list.push(type.read(input));
    },
  });
};

export interface MessageCodec<T> extends Codec<T> {
  empty(): T;
  isEmpty(value: T): boolean;
  writeTo(out: Writer, value: T): void;
  readBlock(input: Reader): T;
}

// Encoding is synchronous and nested messages write into their parent's writer: one serves all.
const writer = new Writer();

interface Entry {
  readonly key: string;
  readonly number: number;
  readonly tag: number;
  readonly type: FieldType<unknown>;
}

/** Declares a message. Field numbers must ascend in the declaration, as they do in the bytes. */
export function message<F extends Fields>(name: string, fields: F): MessageCodec<MessageValue<F>> {
  type T = MessageValue<F>;
  const entries: Entry[] = [];
  const byNumber: (Entry | undefined)[] = [];
  let greatest = 0;
  for (const [key, { number, type }] of Object.entries(fields)) {
    if (number <= greatest) throw new TypeError(`${name}.${key}: field numbers must ascend`);
    greatest = number;
    const entry: Entry = { key, number, tag: number * 8 + type.wire, type };
    entries.push(entry);
    byNumber[number] = entry;
  }
  const fresh = entries.filter((e) => e.type.fresh);
  /** Of what each value needs of its own there is nothing yet. */
  const blank = Object.fromEntries(
    entries.map((e) => [e.key, e.type.fresh ? undefined : e.type.absent()]),
  );

  const fill = (value: Record<string, unknown>): Record<string, unknown> => {
    for (const e of fresh) value[e.key] ??= e.type.absent();
    return value;
  };
  const empty = (): Record<string, unknown> => fill({ ...blank });

  function write(out: Writer, value: Record<string, unknown>): void {
    let at = "";
    try {
      for (const e of entries) {
        const v = value[e.key];
        if (e.type.isAbsent(v)) continue;
        at = e.key;
        if (!e.type.repeated) out.varint(e.tag);
        e.type.write(out, v);
      }
    } catch (error) {
      throw within(at, error);
    }
  }

  function read(input: Reader): Record<string, unknown> {
    const value: Record<string, unknown> = { ...blank };
    let last = 0;
    let at = "";
    try {
      while (input.at < input.end) {
        at = "";
        const tag = input.varint();
        const number = Math.floor(tag / 8);
        const e = byNumber[number];
        if (e === undefined) {
          throw new Flaw("E_ENC_UNKNOWN_FIELD", `unknown field number ${number}`);
        }
        at = e.key;
        const { type } = e;
        if (tag !== e.tag) {
          throw new Flaw("E_ENC_WIRETYPE", `wire type ${tag % 8} is not ${type.wire}`);
        }
        if (number > last) {
          const v = type.read(input);
          if (!type.repeated && type.isAbsent(v)) {
            throw new Flaw("E_ENC_DEFAULT", "a default value must not be written");
          }
          value[at] = v;
        } else if (number === last && type.repeated) {
          type.append?.(value[at], input);
        } else {
          throw new Flaw("E_ENC_ORDER", "field is repeated or out of order");
        }
        last = number;
      }
    } catch (error) {
      throw within(at, error);
    }
    return fill(value);
  }

  function open(input: Uint8Array, copies: boolean): T {
    // A Buffer's slice is a view, ours must be copies; so look at its bytes as plain ones.
    const plain =
      input.constructor === Uint8Array
        ? input
        : new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
    try {
      return read(new Reader(plain, copies)) as T;
    } catch (error) {
      throw asCodecError(name, error);
    }
  }

  return {
    name,
    empty: () => empty() as T,
    isEmpty: (value) =>
      entries.every((e) => e.type.isAbsent((value as Record<string, unknown>)[e.key])),
    writeTo: (out, value) => write(out, value),
    readBlock(input) {
      const outer = input.end;
      input.end = input.blockEnd();
      const value = read(input) as T;
      input.end = outer;
      return value;
    },
    encode(value) {
      writer.start();
      try {
        write(writer, value);
      } catch (error) {
        throw asCodecError(name, error);
      }
      return writer.finish();
    },
    decode: (input) => open(input, true),
    view: (input) => open(input, false),
  };
}

/** Says in which field of a message a flaw was found. The happy path builds no path. */
function within(key: string, error: unknown): unknown {
  if (error instanceof Flaw && key !== "") error.path.unshift(key);
  return error;
}

const asCodecError = (name: string, error: unknown): unknown =>
  error instanceof Flaw
    ? new CodecError(error.code, [name, ...error.path].join("."), error.detail)
    : error;
