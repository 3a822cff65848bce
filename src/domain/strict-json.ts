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
 * @returns undefined when it is not that.
 */
export function parseStrictJson(bytes: Uint8Array): Json | undefined {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return new JsonReader(text).whole();
  } catch (error) {
    // The decoder's own error is a TypeError.
    if (error instanceof NotStrict || error instanceof TypeError) return undefined;
    throw error;
  }
}

class NotStrict extends Error {}

const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
/** From the space on, all but `"` and `\`, which stand escaped. */
const STRING = /"((?:[ !#-[\]-\u{10ffff}]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*)"/uy;
const LITERALS = [
  ["true", true],
  ["false", false],
  ["null", null],
] as const;

class JsonReader {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
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

  #skip(text: string): boolean {
    if (!this.#text.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #value(): Json {
    this.#match(SPACE);
    const value = this.#bare();
    this.#match(SPACE);
    return value;
  }

  #bare(): Json {
    if (this.#skip("{")) return this.#nested(() => this.#object());
    if (this.#skip("[")) return this.#nested(() => this.#list());
    if (this.#text[this.#at] === '"') return this.#string();
    const literal = LITERALS.find(([word]) => this.#skip(word));
    if (literal !== undefined) return literal[1];
    const number = this.#match(NUMBER)?.[0];
    if (number === undefined) throw new NotStrict();
    return isInt64(number) ? BigInt(number) : INEXACT;
  }

  #nested<T>(read: () => T): T {
    this.#depth++;
    if (this.#depth > jsonDepthMax) throw new NotStrict();
    const value = read();
    this.#depth--;
    return value;
  }

  #object(): Map<string, Json> {
    const found = new Map<string, Json>();
    this.#match(SPACE);
    if (this.#skip("}")) return found;
    do {
      this.#match(SPACE);
      const key = this.#string();
      this.#match(SPACE);
      if (found.has(key) || !this.#skip(":")) throw new NotStrict();
      found.set(key, this.#value());
    } while (this.#skip(","));
    if (!this.#skip("}")) throw new NotStrict();
    return found;
  }

  #list(): Json[] {
    const found: Json[] = [];
    this.#match(SPACE);
    if (this.#skip("]")) return found;
    do found.push(this.#value());
    while (this.#skip(","));
    if (!this.#skip("]")) throw new NotStrict();
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
