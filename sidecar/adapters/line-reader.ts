import { Gathered } from "./gathered.ts";

const [CR, LF] = [13, 10];

/** Cuts a stream into its lines, without their ends: LF, or CR LF. */
export class LineReader {
  readonly #bytesMax: number;
  readonly #held = new Gathered();

  /** @param bytesMax of one line. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Nothing of a line has come. */
  get atBoundary(): boolean {
    return this.#held.length === 0;
  }

  /** Takes bytes. @returns the lines that they end; null: one is longer than it may be. */
  push(chunk: Buffer): Buffer[] | null {
    const lines: Buffer[] = [];
    let from = 0;
    for (let end = chunk.indexOf(LF); end >= 0; end = chunk.indexOf(LF, from)) {
      this.#held.push(chunk.subarray(from, end));
      if (this.#held.length > this.#bytesMax) return null;
      const line = this.#held.take(this.#held.length);
      lines.push(line.at(-1) === CR ? line.subarray(0, -1) : line);
      from = end + 1;
    }
    this.#held.push(chunk.subarray(from));
    return this.#held.length > this.#bytesMax ? null : lines;
  }
}
