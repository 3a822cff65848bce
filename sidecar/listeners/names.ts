import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { normaliseHost } from "../../src/domain/host.ts";
import { fakeNamesMax } from "../../src/domain/limits.ts";

/** 198.18.0.0/15 is for benchmarks (RFC 2544) and routed by nobody: the first half of it is enough. */
const FIRST = (198 << 24) | (18 << 16);

/**
 * Addresses that stand for names: each name that is looked up gets the next one, for good. An agent
 * that dials one has said by that which name it means, whatever it speaks. They are kept in a file, a
 * name a line, since an agent may remember one over a restart of ours; none is ever used again.
 */
export class Names {
  readonly #file: number;
  readonly #names: string[] = [];
  readonly #numbers = new Map<string, number>();

  /** Takes the file up, or begins it. What a crash cut off was told to nobody. @throws Error on a foreign file */
  constructor(path: string) {
    this.#file = openSync(path, "a+", 0o600);
    const text = readFileSync(path, "utf8");
    const whole = text.lastIndexOf("\n") + 1;
    if (whole < text.length) ftruncateSync(this.#file, Buffer.byteLength(text.slice(0, whole)));
    for (const name of text.slice(0, whole).split("\n").slice(0, -1)) {
      if (normaliseHost(name) !== name || this.#numbers.has(name)) {
        throw new Error(`${path}: line ${this.#names.length + 1} is not the name of a host`);
      }
      this.#add(name);
    }
  }

  /**
   * The four bytes that stand for a name, normalised; null: there are no more.
   * @throws Error where it cannot be kept; then it was not handed out.
   */
  addressOf(name: string): Buffer | null {
    let number = this.#numbers.get(name);
    if (number === undefined) {
      if (this.#names.length >= fakeNamesMax) return null;
      writeSync(this.#file, `${name}\n`);
      number = this.#add(name);
    }
    const address = Buffer.alloc(4);
    address.writeUInt32BE((FIRST + number) >>> 0);
    return address;
  }

  /** The name that an address was handed out for; null: it was not. */
  nameOf(address: string): string | null {
    const bytes = address.split(".").map(Number);
    if (bytes.length !== 4) return null;
    return this.#names[Buffer.from(bytes).readUInt32BE() - (FIRST >>> 0) - 1] ?? null;
  }

  close(): void {
    closeSync(this.#file);
  }

  /** Numbers begin at 1: an address that ends in .0.0 is a network's to some. */
  #add(name: string): number {
    const number = this.#names.push(name);
    this.#numbers.set(name, number);
    return number;
  }
}
