import { isInt64 } from "./input.ts";
import { jsonDepthMax } from "./limits.ts";

/** A number that is no int64 written in digits alone: it may be there, but nothing compares it. */
export const INEXACT = Symbol("inexact number");

/** JSON with whole numbers kept whole. */
export type Json =
  | string
  | bigint
  | boolean
  | null
  | typeof INEXACT
  | readonly Json[]
  | ReadonlyMap<string, Json>;

/**
 * RFC 8259 without what readers disagree on: bytes are UTF-8 without a mark, no key stands twice in an
 * object, escapes make whole characters, nothing follows, nesting is bounded.
 *
 * @param depthMax arrays and objects inside each other.
 * @returns undefined when it is not that.
 */
export function parseStrictJson(bytes: Uint8Array, depthMax = jsonDepthMax): Json | undefined {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return new JsonReader(text, depthMax).whole();
  } catch (error) {
    // The decoder's own error is a TypeError.
    if (error instanceof NotStrict || error instanceof TypeError) return undefined;
    throw error;
  }
}

class NotStrict extends Error {}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
/** From the space on, all but `"` and `\`, which stand escaped. */
const STRING = /"((?:[ !#-[\]-\u{10ffff}]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*)"/uy;
const LITERALS: ReadonlyMap<number, readonly [string, boolean | null]> = new Map([
  [0x74, ["true", true]],
  [0x66, ["false", false]],
  [0x6e, ["null", null]],
] as const);
const [QUOTE, COMMA, COLON] = [0x22, 0x2c, 0x3a];
const [OBJECT, OBJECT_END, LIST, LIST_END] = [0x7b, 0x7d, 0x5b, 0x5d];

class JsonReader {
  readonly #text: string;
  #at = 0;
  #depth = 0;
  readonly #depthMax: number;

  constructor(text: string, depthMax: number) {
    this.#text = text;
    this.#depthMax = depthMax;
  }

  whole(): Json {
    const value = this.#value();
    if (this.#at < this.#text.length) throw new NotStrict();
    return value;
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found !== null) this.#at += found[0].length;
    return found;
  }

  /** Messages of megabytes are read by this, so character by character, and by no pattern. */
  #skip(code: number): boolean {
    if (this.#text.charCodeAt(this.#at) !== code) return false;
    this.#at++;
    return true;
  }

  #space(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#at++;
    }
  }

  #value(): Json {
    this.#space();
    const value = this.#bare();
    this.#space();
    return value;
  }

  #bare(): Json {
    const code = this.#text.charCodeAt(this.#at);
    if (code === QUOTE) return this.#string();
    if (this.#skip(OBJECT)) return this.#nested(() => this.#object());
    if (this.#skip(LIST)) return this.#nested(() => this.#list());
    const literal = LITERALS.get(code);
    if (literal === undefined) return this.#number();
    const [word, value] = literal;
    if (!this.#text.startsWith(word, this.#at)) throw new NotStrict();
    this.#at += word.length;
    return value;
  }

  #number(): bigint | typeof INEXACT {
    const number = this.#match(NUMBER)?.[0];
    if (number === undefined) throw new NotStrict();
    return isInt64(number) ? BigInt(number) : INEXACT;
  }

  #nested<T>(read: () => T): T {
    this.#depth++;
    if (this.#depth > this.#depthMax) throw new NotStrict();
    const value = read();
    this.#depth--;
    return value;
  }

  #object(): Map<string, Json> {
    const found = new Map<string, Json>();
    this.#space();
    if (this.#skip(OBJECT_END)) return found;
    do {
      this.#space();
      const key = this.#string();
      this.#space();
      if (found.has(key) || !this.#skip(COLON)) throw new NotStrict();
      found.set(key, this.#value());
    } while (this.#skip(COMMA));
    if (!this.#skip(OBJECT_END)) throw new NotStrict();
    return found;
  }

  #list(): Json[] {
    const found: Json[] = [];
    this.#space();
    if (this.#skip(LIST_END)) return found;
    do found.push(this.#value());
    while (this.#skip(COMMA));
    if (!this.#skip(LIST_END)) throw new NotStrict();
    return found;
  }

  #string(): string {
    const token = this.#match(STRING);
    if (token === null) throw new NotStrict();
    // Without escapes it is what it says; with them, the engine's own reader undoes them.
    const text = token[0].includes("\\") ? (JSON.parse(token[0]) as string) : (token[1] as string);
    if (!text.isWellFormed()) throw new NotStrict();
    return text;
  }
}
