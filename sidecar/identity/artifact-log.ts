import { closeSync, fsyncSync, openSync, readFileSync, truncateSync, writeSync } from "node:fs";
import { isInvalid } from "../../src/domain/invalid.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { decodeSigned, encodeSigned } from "../../src/domain/signing.ts";
import { ConfigError } from "../config.ts";

/**
 * Every lease that receipts cite, in the order of adoption: a file of frames, `u32be length` and
 * SignedBytes. An entry is on disk before it counts. A frame that a crash cut short was never
 * counted, so it is cut off at the next start.
 */
export class ArtifactLog {
  readonly #entries: SignedBytes[];
  readonly #fd: number;

  private constructor(fd: number, entries: SignedBytes[]) {
    this.#fd = fd;
    this.#entries = entries;
  }

  /** @throws ConfigError when a whole frame is not SignedBytes: somebody wrote here. */
  static open(path: string): ArtifactLog {
    const fd = openSync(path, "a+", 0o600);
    const bytes = readFileSync(path);
    const entries: SignedBytes[] = [];
    let at = 0;
    while (at + 4 <= bytes.length) {
      const end = at + 4 + bytes.readUInt32BE(at);
      if (end > bytes.length) break;
      const signed = decodeSigned(new Uint8Array(bytes.subarray(at + 4, end)));
      if (isInvalid(signed)) {
        throw new ConfigError(`${path}: ${signed.detail} at byte ${at}; restore it from a backup`);
      }
      entries.push(signed);
      at = end;
    }
    if (at < bytes.length) truncateSync(path, at);
    return new ArtifactLog(fd, entries);
  }

  /** Durable when it returns. @throws when the disk refuses. */
  append(signed: SignedBytes): void {
    const body = encodeSigned(signed);
    const frame = Buffer.alloc(4 + body.length);
    frame.writeUInt32BE(body.length);
    frame.set(body, 4);
    writeSync(this.#fd, frame);
    fsyncSync(this.#fd);
    this.#entries.push(signed);
  }

  entries(): readonly SignedBytes[] {
    return this.#entries;
  }

  close(): void {
    closeSync(this.#fd);
  }
}
