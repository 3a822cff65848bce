import { createHash, hash } from "node:crypto";
import { close, constants, fstat, open, read } from "node:fs";

/** Bytes read at once; most code files are read whole by one. */
const CHUNK_BYTES = 64 * 1024;
// NOFOLLOW: between the listing and now nobody may have put a link in its place. NONBLOCK: nor a pipe.
const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** SHA-256 and length of a regular file. */
export interface Digested {
  readonly sha256: Uint8Array;
  readonly size: number;
}

/**
 * Digests files one after the other, through one buffer. Thousands of them are read again at each
 * renewal, beside an agent's calls: so by callbacks, which cost a third less than file handles and
 * streams, and never synchronously, since a disk may hang.
 */
export class FileDigests {
  readonly #buffer = Buffer.allocUnsafe(CHUNK_BYTES);

  /** null: it is no regular file. Rejects with what the system says. */
  digest(path: string): Promise<Digested | null> {
    return new Promise((resolve, reject) => {
      open(path, FLAGS, (failed, fd) => {
        if (failed) return reject(failed);
        this.#read(fd, (error, digested) => {
          close(fd, () => (error === null ? resolve(digested) : reject(error)));
        });
      });
    });
  }

  #read(fd: number, done: (error: Error | null, digested: Digested | null) => void): void {
    fstat(fd, (failed, stats) => {
      if (failed || !stats.isFile()) return done(failed, null);
      read(fd, this.#buffer, 0, CHUNK_BYTES, null, (error, first) => {
        if (error) return done(error, null);
        // A short read of a regular file is its end.
        if (first < CHUNK_BYTES) {
          const sha256 = hash("sha256", this.#buffer.subarray(0, first), "buffer");
          return done(null, { sha256: new Uint8Array(sha256), size: first });
        }
        this.#readOn(fd, first, done);
      });
    });
  }

  #readOn(
    fd: number,
    first: number,
    done: (error: Error | null, digested: Digested | null) => void,
  ): void {
    const sum = createHash("sha256").update(this.#buffer);
    let size = first;
    const next = (): void =>
      read(fd, this.#buffer, 0, CHUNK_BYTES, null, (error, length) => {
        if (error) return done(error, null);
        if (length === 0) return done(null, { sha256: new Uint8Array(sum.digest()), size });
        sum.update(this.#buffer.subarray(0, length));
        size += length;
        next();
      });
    next();
  }
}
