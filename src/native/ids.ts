import { UUID, V7Generator } from "uuidv7";
import type { IdGenerator } from "../domain/ids.ts";
import { randomU32 as strongU32 } from "./random.ts";

/** All of the 48-bit millisecond range: however far the clock falls, the counter goes on. */
const ANY_ROLLBACK_MS = 2 ** 48 - 1;

export interface IdSources {
  /** Milliseconds since the epoch, whole. */
  nowMs?: () => number;
  /** A uniformly random unsigned 32-bit integer from a strong source. */
  randomU32?: () => number;
  /** The greatest id ever stored, with or without prefix: all new ones sort after it. */
  above?: string | undefined;
}

/** @throws SyntaxError when `above` is not a UUID. */
export function idGenerator(sources: IdSources = {}): IdGenerator {
  const { nowMs = Date.now, randomU32 = strongU32, above } = sources;
  const v7 = new V7Generator({ nextUint32: randomU32 });
  v7.setRollbackAllowance(ANY_ROLLBACK_MS);
  if (above !== undefined) {
    // Drawing one id a millisecond later puts the generator past every id of that millisecond.
    v7.generateOrResetWithTs(timestampOf(above) + 1);
  }
  return {
    next() {
      const { bytes } = v7.generateOrResetWithTs(nowMs());
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");
    },
  };
}

function timestampOf(id: string): number {
  const { bytes } = UUID.parse(id.slice(-32));
  return bytes.subarray(0, 6).reduce((ms, byte) => ms * 256 + byte, 0);
}
