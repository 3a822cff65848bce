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

const VARINT = 0;
const BYTES = 2;

/** How one field's value is told, measured, written and read. `T` is its value in TypeScript. */
export interface FieldType<T> {
  readonly wire: typeof VARINT | typeof BYTES;
  readonly repeated: boolean;
  /** The value of an absent field. */
  absent(): T;
  isAbsent(value: T): boolean;
  /** Encodes everything after the tag; a repeated type writes its tags itself. */
  write(out: Writer, value: T, path: string): void;
  read(input: Reader, path: string): T;
  /** For a repeated type: adds one element in place. */
  append?(list: T, input: Reader, path: string): void;
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
}
export type Infer<C> = C extends Codec<infer T> ? T : never;

const utf8 = new TextEncoder();
const utf8Strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

class Writer {
  #bytes: Uint8Array = new Uint8Array(256);
  #length = 0;

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + more));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }

  varint(value: number): void {
    this.#reserve(10);
    let rest = value;
    while (rest > 0x7f) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  block(value: Uint8Array): void {
    this.varint(value.length);
    this.#reserve(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  text(value: string, path: string): void {
    if (!value.isWellFormed()) throw new CodecError("E_ENC_UTF8", path, "has a lone surrogate");
    this.#reserve(value.length * 3 + 10);
    // One byte of length is the common case; a longer text moves up by the difference.
    const start = this.#length + 1;
    const { written } = utf8.encodeInto(value, this.#bytes.subarray(start));
    if (written < 0x80) {
      this.#bytes[this.#length] = written;
      this.#length = start + written;
      return;
    }
    const copy = this.#bytes.slice(start, start + written);
    this.block(copy);
  }

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  mark(): number {
    return this.#length;
  }

  /** Turns everything since `mark` into a length-delimited block. */
  wrap(mark: number): void {
    const inner = this.#bytes.slice(mark, this.#length);
    this.#length = mark;
    this.block(inner);
  }

  reset(): void {
    this.#length = 0;
  }
}

class Reader {
  readonly bytes: Uint8Array;
  readonly end: number;
  at: number;
  constructor(bytes: Uint8Array, start: number, end: number) {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
  }

  varint(path: string): number {
    let value = 0;
    let unit = 1;
    for (let i = 0; i < 8; i++) {
      if (this.at >= this.end)
        throw new CodecError("E_ENC_TRUNCATED", path, "ends inside a varint");
      const byte = this.bytes[this.at++] as number;
      value += (byte & 0x7f) * unit;
      if (byte < 0x80) {
        if (byte === 0 && i > 0) {
          throw new CodecError("E_ENC_VARINT", path, "varint is longer than it need be");
        }
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
      unit *= 0x80;
    }
    throw new CodecError("E_ENC_RANGE", path, "varint is above 2^53 − 1");
  }

  block(path: string): Uint8Array {
    const length = this.varint(path);
    if (length > this.end - this.at) {
      throw new CodecError(
        "E_ENC_TRUNCATED",
        path,
        `wants ${length} bytes, ${this.end - this.at} left`,
      );
    }
    const start = this.at;
    this.at += length;
    return this.bytes.subarray(start, this.at);
  }
}

const field = <T>(number: number, type: FieldType<T>): Field<T> => ({ number, type });

/** An unsigned integer up to 2^53 − 1: counts, microseconds since the epoch, versions. */
export const u64 = (number: number, max: number = Number.MAX_SAFE_INTEGER): Field<number> => {
  const check = (value: number, path: string): number => {
    if (!Number.isSafeInteger(value) || value < 0 || value > max) {
      throw new CodecError("E_ENC_RANGE", path, `must be a whole number from 0 to ${max}`);
    }
    return value;
  };
  return field(number, {
    wire: VARINT,
    repeated: false,
    absent: () => 0,
    isAbsent: (v) => v === 0,
    write: (out, v, path) => out.varint(check(v, path)),
    read: (input, path) => check(input.varint(path), path),
  });
};

export const u32 = (number: number): Field<number> => u64(number, 0xffff_ffff);

export const bool = (number: number): Field<boolean> =>
  field(number, {
    wire: VARINT,
    repeated: false,
    absent: () => false,
    isAbsent: (v) => !v,
    write: (out) => out.varint(1),
    read: (input, path) => {
      if (input.varint(path) > 1) throw new CodecError("E_ENC_RANGE", path, "must be 0 or 1");
      return true;
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
    absent: () => names[0] as N[number],
    isAbsent: (v) => v === names[0],
    write: (out, v, path) => {
      const value = values.get(v);
      if (value === undefined) throw new CodecError("E_ENC_ENUM", path, `unknown value ${v}`);
      out.varint(value);
    },
    read: (input, path) => {
      const value = input.varint(path);
      const name = names[value];
      if (name === undefined) throw new CodecError("E_ENC_ENUM", path, `unknown value ${value}`);
      return name;
    },
  });
};

export const str = (number: number): Field<string> =>
  field(number, {
    wire: BYTES,
    repeated: false,
    absent: () => "",
    isAbsent: (v) => v === "",
    write: (out, v, path) => out.text(v, path),
    read: (input, path) => {
      const block = input.block(path);
      try {
        return utf8Strict.decode(block);
      } catch {
        throw new CodecError("E_ENC_UTF8", path, "is not UTF-8");
      }
    },
  });

/** Bytes; with `length`, either absent or exactly that long. */
export const bytes = (number: number, length?: number): Field<Uint8Array> => {
  const check = (value: Uint8Array, path: string): Uint8Array => {
    if (length !== undefined && value.length !== length) {
      throw new CodecError("E_ENC_LENGTH", path, `must be ${length} bytes, has ${value.length}`);
    }
    return value;
  };
  return field<Uint8Array>(number, {
    wire: BYTES,
    repeated: false,
    absent: () => new Uint8Array(0),
    isAbsent: (v) => v.length === 0,
    write: (out, v, path) => out.block(check(v, path)),
    // A copy: what was decoded must not change when the buffer that carried it does.
    read: (input, path) => check(new Uint8Array(input.block(path)), path),
  });
};

/** A message inside a message. Absent and empty are the same, as strictness demands. */
export const nested = <T>(number: number, inner: MessageCodec<T>): Field<T> =>
  field(number, {
    wire: BYTES,
    repeated: false,
    absent: () => inner.empty(),
    isAbsent: (v) => inner.isEmpty(v),
    write: (out, v, path) => {
      const mark = out.mark();
      inner.writeTo(out, v, path);
      out.wrap(mark);
    },
    read: (input, path) => inner.readBlock(input, path),
  });

/** A repeated message, string or bytes field. Elements may be empty; order is the writer's. */
export const repeated = <T>(element: Field<T>): Field<T[]> => {
  const { number, type } = element;
  if (type.wire !== BYTES)
    throw new TypeError("only length-delimited fields repeat in this profile");
  return field<T[]>(number, {
    wire: BYTES,
    repeated: true,
    absent: () => [],
    isAbsent: (v) => v.length === 0,
    write: (out, list, path) => {
      for (const value of list) {
        out.varint((number << 3) | BYTES);
        type.write(out, value, path);
      }
    },
    read: (input, path) => [type.read(input, path)],
    append: (list, input, path) => {
      list.push(type.read(input, path));
    },
  });
};

export interface MessageCodec<T> extends Codec<T> {
  empty(): T;
  isEmpty(value: T): boolean;
  writeTo(out: Writer, value: T, path: string): void;
  readBlock(input: Reader, path: string): T;
}

/** Declares a message. Field numbers must ascend in the declaration, as they do in the bytes. */
export function message<F extends Fields>(name: string, fields: F): MessageCodec<MessageValue<F>> {
  type T = MessageValue<F>;
  const entries = Object.entries(fields).map(([key, f]) => ({ key, ...f }));
  const byNumber = new Map(entries.map((e, index) => [e.number, { ...e, index }]));
  entries.reduce((last, e) => {
    if (e.number <= last) throw new TypeError(`${name}.${e.key}: field numbers must ascend`);
    return e.number;
  }, 0);
  const writer = new Writer();

  const codec: MessageCodec<T> = {
    name,
    empty: () => Object.fromEntries(entries.map((e) => [e.key, e.type.absent()])) as T,
    isEmpty: (value) =>
      entries.every((e) => e.type.isAbsent((value as Record<string, unknown>)[e.key])),
    writeTo(out, value, path) {
      for (const e of entries) {
        const v = (value as Record<string, unknown>)[e.key];
        if (e.type.isAbsent(v)) continue;
        if (!e.type.repeated) out.varint((e.number << 3) | e.type.wire);
        e.type.write(out, v, `${path}.${e.key}`);
      }
    },
    readBlock(input, path) {
      const block = input.block(path);
      return read(new Reader(block, 0, block.length), path);
    },
    encode(value) {
      // One writer a codec: encoding is synchronous and never re-enters the same codec.
      writer.reset();
      codec.writeTo(writer, value, name);
      return writer.finish();
    },
    decode: (input) => read(new Reader(input, 0, input.length), name),
  };

  function read(input: Reader, path: string): T {
    const value = codec.empty() as Record<string, unknown>;
    let last = 0;
    while (input.at < input.end) {
      const tag = input.varint(path);
      const number = Math.floor(tag / 8);
      const e = byNumber.get(number);
      if (e === undefined) {
        throw new CodecError("E_ENC_UNKNOWN_FIELD", path, `unknown field number ${number}`);
      }
      const fieldPath = `${path}.${e.key}`;
      if (tag % 8 !== e.type.wire) {
        throw new CodecError(
          "E_ENC_WIRETYPE",
          fieldPath,
          `wire type ${tag % 8} is not ${e.type.wire}`,
        );
      }
      if (number < last || (number === last && !e.type.repeated)) {
        throw new CodecError("E_ENC_ORDER", fieldPath, "field is repeated or out of order");
      }
      if (number === last) {
        e.type.append?.(value[e.key], input, fieldPath);
      } else {
        const v = e.type.read(input, fieldPath);
        if (!e.type.repeated && e.type.isAbsent(v)) {
          throw new CodecError("E_ENC_DEFAULT", fieldPath, "a default value must not be written");
        }
        value[e.key] = v;
      }
      last = number;
    }
    return value as T;
  }

  return codec;
}
