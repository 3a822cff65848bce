import { concat, equal, utf8 } from "../domain/bytes.ts";
import {
  bytes,
  type Codec,
  CodecError,
  message,
  repeated,
  str,
  u32,
  u64,
} from "../domain/canonical.ts";
import { packFrameBytesMax } from "../domain/limits.ts";
import type { CheckCode } from "./checks.ts";

/**
 * An evidence pack, version 1: one file that a stranger can check with nothing but a trust file.
 *
 *     dragons evidence 1\n
 *     ( u8 kind ‖ u32be length ‖ body )*
 *
 * Frames stand in one order: HEADER; then for each ledger a section that GENESIS opens, its kinds
 * ascending; then END. What a receipt is judged by stands before it, so a reader needs one pass and
 * keeps no receipt. Bodies are strict protobuf, but MANIFEST (its canonical bytes), CHECKPOINT (note
 * text) and LEAVES (32-byte hashes end to end).
 */
const PACK_MAGIC = "dragons evidence 1\n";

/** The index is the byte on the wire; 0 is never written. */
export const FRAME_KINDS = [
  "UNSPECIFIED",
  "HEADER",
  "GENESIS",
  "KEYSET",
  "MANIFEST",
  "GRANT",
  "DOCK",
  "LEASE",
  "REVOCATION",
  "HEARTBEAT",
  "TRANSITION",
  "CHECKPOINT",
  "FRONTIER",
  "LEAVES",
  "RECEIPT",
  "PROOF",
  "OPEN_INTENT",
  "END",
] as const;
export type FrameKind = Exclude<(typeof FRAME_KINDS)[number], "UNSPECIFIED">;

export interface Frame {
  readonly kind: FrameKind;
  readonly body: Uint8Array;
  /** Where the body starts in the file, in bytes. */
  readonly offset: number;
}

export const PackHeader = message("pack", {
  tenantId: str(1),
  /** How many ledger sections follow. */
  ledgers: u32(2),
});
export type PackHeader = ReturnType<typeof PackHeader.decode>;

/**
 * What ties receipt a to the tree when a > 1: the nodes of the tree over leaves 1..a−2, and H of
 * receipt a−1, which the reader appends itself, so that a's prev_hash is a leaf of the cosigned tree.
 */
export const FrontierFrame = message("frontier", {
  /** a − 2. */
  size: u64(1),
  /** Roots of the perfect subtrees of that tree, largest first. */
  nodes: repeated(bytes(2, 32)),
  /** H of receipt a − 1. */
  last: bytes(3, 32),
  /** As receipt a−1 states them. */
  intentsOpened: u64(4),
  intentsHead: bytes(5, 32),
});
export type FrontierFrame = ReturnType<typeof FrontierFrame.decode>;

export const ReceiptFrame = message("entry", {
  /** SignedBytes of the receipt. */
  signed: bytes(1),
  /** PayloadRow: five commitments, and the openings that the tenant discloses; absent: not kept here. */
  row: bytes(2),
});
export type ReceiptFrame = ReturnType<typeof ReceiptFrame.decode>;

/** A receipt by itself, with the way from its leaf to the root of a checkpoint. */
export const ProofFrame = message("proof", {
  signed: bytes(1),
  row: bytes(2),
  /** Of the checkpoint's tree. */
  size: u64(3),
  /** Siblings, from the leaf upwards. */
  path: repeated(bytes(4, 32)),
});
export type ProofFrame = ReturnType<typeof ProofFrame.decode>;

/** An intent not yet closed at the last receipt shown: what the intent chain hashes of it. */
export const OpenIntentFrame = message("openIntent", {
  intentSeq: u64(1),
  receiptId: str(2),
  leaseRef: bytes(3, 32),
  openedAtUs: u64(4),
  /** c_5. */
  claimCommitment: bytes(5, 32),
});
export type OpenIntentFrame = ReturnType<typeof OpenIntentFrame.decode>;

export const EndFrame = message("end", {
  /** Every frame of the file, END itself included. */
  frames: u64(1),
});

/** A pack that cannot be read. `code` is one of check 1's. */
export class PackError extends Error {
  override readonly name = "PackError";
  readonly code: CheckCode;
  constructor(code: CheckCode, detail: string) {
    super(detail);
    this.code = code;
  }
}

const magic = utf8(PACK_MAGIC);
const headBytes = 5;

/** The opening line of the file. */
export const packStart = (): Uint8Array => magic.slice();

/** One frame as bytes. @throws RangeError above packFrameBytesMax: nobody could read it back. */
export function frame(kind: FrameKind, body: Uint8Array): Uint8Array {
  if (body.length > packFrameBytesMax) {
    throw new RangeError(
      `${kind} frame has ${body.length} bytes, the most is ${packFrameBytesMax}`,
    );
  }
  const head = new Uint8Array(headBytes);
  head[0] = FRAME_KINDS.indexOf(kind);
  new DataView(head.buffer).setUint32(1, body.length);
  return concat(head, body);
}

/** Takes bytes as they come and gives them back in exact lengths, holding what one asks for. */
class Intake {
  readonly #source: AsyncIterator<Uint8Array>;
  #held: Uint8Array = new Uint8Array(0);
  offset = 0;

  constructor(source: AsyncIterator<Uint8Array>) {
    this.#source = source;
  }

  /** Exactly `length` bytes, or fewer at the end of the file. A promise only where they have to be waited for. */
  take(length: number): Uint8Array | Promise<Uint8Array> {
    return length <= this.#held.length ? this.#cut(length) : this.#gather(length);
  }

  #cut(length: number): Uint8Array {
    const part = this.#held.subarray(0, length);
    this.#held = this.#held.subarray(part.length);
    this.offset += part.length;
    return part;
  }

  async #gather(length: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    for (let left = length; left > 0; ) {
      const part = this.#cut(left);
      left -= part.length;
      parts.push(part);
      if (left === 0) break;
      const next = await this.#source.next();
      if (next.done) break;
      this.#held = next.value;
    }
    return concat(...parts);
  }
}

/** Frames, and bytes of them, that are read before any is looked at: much for a batch, little for a memory. */
const framesAtOnce = 64;
const bytesAtOnce = 256 * 1024;

/**
 * Reads frames in batches. Those before the place where the file stops being a pack are given before it is told.
 * @throws PackError where the file stops being a pack.
 */
export async function* readFrames(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<readonly Frame[]> {
  const iterator = source[Symbol.asyncIterator]();
  const intake = new Intake(iterator);
  let count = 0;
  try {
    await readMagic(intake);
    for (;;) {
      const batch: Frame[] = [];
      try {
        await fill(batch, intake);
      } catch (error) {
        if (batch.length > 0) yield batch;
        throw error;
      }
      count += batch.length;
      yield batch;
      const last = batch.at(-1) as Frame;
      if (last.kind === "END") return await checkEnd(last, count, intake);
    }
  } finally {
    await iterator.return?.();
  }
}

async function readMagic(intake: Intake): Promise<void> {
  const start = await intake.take(magic.length);
  if (start.length === 0) throw new PackError("E_PACK_EMPTY", "the file is empty");
  if (equal(start, magic)) return;
  throw new PackError("E_PACK_MAGIC", "the file does not begin with `dragons evidence 1`");
}

/** One frame at least; nothing behind END. */
async function fill(batch: Frame[], intake: Intake): Promise<void> {
  const from = intake.offset;
  while (batch.length < framesAtOnce && intake.offset - from < bytesAtOnce) {
    const at = intake.offset;
    const taken = intake.take(headBytes);
    const head = taken instanceof Uint8Array ? taken : await taken;
    if (head.length < headBytes) {
      throw new PackError("E_PACK_TRUNCATED", `the file ends at byte ${at} without END`);
    }
    const kind = FRAME_KINDS[head[0] as number];
    if (kind === undefined || kind === "UNSPECIFIED") {
      throw new PackError("E_PACK_KIND", `byte ${at}: no frame has kind ${head[0]}`);
    }
    const length = new DataView(head.buffer, head.byteOffset).getUint32(1);
    if (length > packFrameBytesMax) {
      const what = `byte ${at}: ${length} bytes, the most is ${packFrameBytesMax}`;
      throw new PackError("E_PACK_FRAME", what);
    }
    const offset = intake.offset;
    const content = intake.take(length);
    const body = content instanceof Uint8Array ? content : await content;
    if (body.length < length) {
      throw new PackError("E_PACK_TRUNCATED", `the file ends inside the frame at byte ${at}`);
    }
    batch.push({ kind, body, offset });
    if (kind === "END") return;
  }
}

/** It counts every frame, and nothing follows. */
async function checkEnd({ kind, body }: Frame, count: number, intake: Intake): Promise<void> {
  const { frames } = decodeFrame(EndFrame, body, kind);
  if (frames !== count) {
    const what = `END counts ${frames} frames, the file has ${count}`;
    throw new PackError("E_PACK_TRUNCATED", what);
  }
  if ((await intake.take(1)).length > 0) {
    throw new PackError("E_PACK_TRAILING", "bytes follow END");
  }
}

/** Decodes a frame's body strictly. @throws PackError with the codec's own code. */
export function decodeFrame<T>(codec: Codec<T>, body: Uint8Array, kind: FrameKind): T {
  try {
    return codec.decode(body);
  } catch (error) {
    if (error instanceof CodecError) throw new PackError(error.code, `${kind}: ${error.message}`);
    throw error;
  }
}

/** A whole pack held in memory, as the stream that readers take. */
export async function* once(pack: Uint8Array): AsyncGenerator<Uint8Array> {
  yield pack;
}
