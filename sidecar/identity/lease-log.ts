import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { equal } from "../../src/domain/bytes.ts";
import type { Crypto } from "../../src/domain/crypto.ts";
import { isInvalid } from "../../src/domain/invalid.ts";
import { leaseFrameBytesMax } from "../../src/domain/limits.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { decodeSigned, encodeSigned, refOf } from "../../src/domain/signing.ts";
import { ConfigError } from "../config.ts";

/**
 * Every lease that receipts cite, in the order of adoption: a file of frames, `u32be length` and
 * SignedBytes. An entry is on disk before it counts. A frame that a crash cut short was never
 * counted, so it is cut off at the next start.
 */
export class LeaseLog {
  readonly #entries: SignedBytes[];
  readonly #fd: number;
  readonly #crypto: Crypto;

  private constructor(crypto: Crypto, fd: number, entries: SignedBytes[]) {
    this.#crypto = crypto;
    this.#fd = fd;
    this.#entries = entries;
  }

  /** @throws ConfigError when a whole frame is not SignedBytes: somebody wrote here. */
  static open(crypto: Crypto, path: string): LeaseLog {
    const bytes = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
    const entries: SignedBytes[] = [];
    let at = 0;
    while (at + 4 <= bytes.length) {
      const length = bytes.readUInt32BE(at);
      if (length > leaseFrameBytesMax) {
        throw new ConfigError(
          `${path}: no lease is ${length} bytes long, at byte ${at}; restore it from a backup`,
        );
      }
      const end = at + 4 + length;
      if (end > bytes.length) break;
      const signed = decodeSigned(new Uint8Array(bytes.subarray(at + 4, end)));
      if (isInvalid(signed)) {
        throw new ConfigError(`${path}: ${signed.detail} at byte ${at}; restore it from a backup`);
      }
      entries.push(signed);
      at = end;
    }
    if (at < bytes.length) truncateSync(path, at);
    const fd = openSync(path, "a", 0o600);
    return new LeaseLog(crypto, fd, entries);
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

  /** The lease with this ref; null: it was not adopted here. */
  find(ref: Uint8Array): SignedBytes | null {
    return this.#entries.find((e) => equal(refOf(this.#crypto, "lease", e.body), ref)) ?? null;
  }

  close(): void {
    closeSync(this.#fd);
  }
}
