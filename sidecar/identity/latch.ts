import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { fromHex, toHex } from "../../src/domain/bytes.ts";
import { ConfigError } from "../config.ts";

/** What only an operator's release takes away. */
export interface Latched {
  /** What the files measured as when they were not what they should be; null: they never were. */
  readonly drifted: Uint8Array | null;
  readonly quarantined: boolean;
}

const LINES = /^(?:drifted (?<drifted>[0-9a-f]{64})\n)?(?<quarantined>quarantined\n)?$/;

/**
 * What a restart must not wash off: that the files had drifted, or that it was quarantined, also if
 * the control plane was away and knows of neither. A file of lines, `drifted HEX` and `quarantined`.
 */
export class Latch {
  readonly #path: string;
  #now: Latched;

  private constructor(path: string, now: Latched) {
    this.#path = path;
    this.#now = now;
  }

  /** @throws ConfigError when somebody else wrote in the file. */
  static open(path: string): Latch {
    const text = existsSync(path) ? readFileSync(path, "latin1") : "";
    const groups = LINES.exec(text)?.groups;
    if (groups === undefined) {
      throw new ConfigError(`${path}: is not what this sidecar wrote; restore it from a backup`);
    }
    const drifted = groups.drifted === undefined ? null : fromHex(groups.drifted);
    return new Latch(path, { drifted, quarantined: groups.quarantined !== undefined });
  }

  get now(): Latched {
    return this.#now;
  }

  /** Durable when it returns. @throws when the disk refuses. */
  keep(next: Latched): void {
    const { drifted, quarantined } = this.#now;
    const same = (drifted === null) === (next.drifted === null);
    if (same && quarantined === next.quarantined) return;
    const lines = [
      ...(next.drifted === null ? [] : [`drifted ${toHex(next.drifted)}\n`]),
      ...(next.quarantined ? ["quarantined\n"] : []),
    ];
    const partial = `${this.#path}.partial`;
    synced(partial, "w", (fd) => writeSync(fd, lines.join("")));
    renameSync(partial, this.#path);
    synced(dirname(this.#path), "r", () => {});
    this.#now = next;
  }
}

function synced(path: string, flags: "r" | "w", work: (fd: number) => void): void {
  const fd = openSync(path, flags, 0o600);
  try {
    work(fd);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
