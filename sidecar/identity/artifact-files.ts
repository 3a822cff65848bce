import { mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { utf8 } from "../../src/domain/bytes.ts";
import { isInvalid } from "../../src/domain/invalid.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { decodeSigned, encodeSigned } from "../../src/domain/signing.ts";
import { writeAtomic } from "../../src/native/atomic-file.ts";
import { ConfigError } from "../config.ts";

/** Files that are written at once: a disk is told of several syncs together. */
const LANES = 16;

/**
 * Artifacts of one instance as files: what was received and verified once, so that a sidecar starts
 * again while the control plane is away. Written whole and durable, or not at all. They are verified
 * from the pinned root again at every start: a file is no more to be believed than the network.
 */
export class ArtifactFiles {
  readonly folder: string;
  /** What is written waits behind what was before it in its lane: of thousands at once few files are open. */
  readonly #lanes: Promise<unknown>[] = Array.from({ length: LANES }, () => Promise.resolve());

  constructor(folder: string) {
    this.folder = folder;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }

  /** null: there is none. @throws ConfigError when it is there and unreadable. */
  async read(name: string): Promise<Uint8Array | null> {
    const path = join(this.folder, name);
    try {
      return new Uint8Array(await readFile(path));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw new ConfigError(`${path} cannot be read: ${(error as Error).message}`);
    }
  }

  async readSigned(name: string): Promise<SignedBytes | null> {
    const bytes = await this.read(name);
    if (bytes === null) return null;
    const signed = decodeSigned(bytes);
    if (isInvalid(signed)) {
      throw new ConfigError(
        `${join(this.folder, name)}: ${signed.detail}; restore it from a backup`,
      );
    }
    return signed;
  }

  /** Of one name the last one written stays. */
  write(name: string, bytes: Uint8Array): Promise<void> {
    const lane = utf8(name).reduce((sum, byte) => sum + byte, 0) % LANES;
    const written = (this.#lanes[lane] as Promise<unknown>).then(() =>
      writeAtomic(join(this.folder, name), bytes, 0o600),
    );
    this.#lanes[lane] = written.catch(() => {});
    return written;
  }

  writeSigned(name: string, signed: SignedBytes): Promise<void> {
    return this.write(name, encodeSigned(signed));
  }
}
