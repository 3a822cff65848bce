import { toHex } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";
import { SignedBytes } from "../domain/signed.ts";
import { refOf } from "../domain/signing.ts";
import type { Added } from "./control-section.ts";
import {
  EndFrame,
  FRAME_KINDS,
  type FrameKind,
  frame,
  PackHeader,
  packStart,
  readFrames,
} from "./pack.ts";

/** What is put beside the sections of a pack. */
export interface Beside {
  /** For the section of a ledger, by its id in hex. */
  readonly added: (ledger: string) => Added;
  /** One more section, which comes last, as encoded frames; in pieces of any length. */
  readonly section: AsyncIterable<Uint8Array>;
  /** How many frames that section has. */
  readonly frames: number;
}

/**
 * A pack with further heartbeats and changes of state in its sections, and one more section behind them.
 * One pass over either; a frame is in memory at a time.
 */
export async function* joinPack(
  crypto: Crypto,
  pack: AsyncIterable<Uint8Array>,
  { added, section, frames: further }: Beside,
): AsyncGenerator<Uint8Array> {
  const into = new Joining(crypto, added);
  yield packStart();
  for await (const batch of readFrames(pack)) {
    for (const { kind, body } of batch) if (kind !== "END") yield* into.put(kind, body);
  }
  yield* into.due("END");
  yield* section;
  yield frame("END", EndFrame.encode({ frames: into.frames + further + 1 }));
}

/** Packs of one tenant as one: the sections of each, in their order. `ledgers`: how many all of them have. */
export async function* mergePacks(
  tenantId: string,
  ledgers: number,
  packs: readonly AsyncIterable<Uint8Array>[],
): AsyncGenerator<Uint8Array> {
  let frames = 2;
  yield packStart();
  yield frame("HEADER", PackHeader.encode({ tenantId, ledgers }));
  for (const pack of packs) {
    for await (const batch of readFrames(pack)) {
      for (const { kind, body } of batch) {
        if (kind === "HEADER" || kind === "END") continue;
        frames++;
        yield frame(kind, body);
      }
    }
  }
  yield frame("END", EndFrame.encode({ frames }));
}

/** Puts what is added where its kind belongs, and counts frames. */
class Joining {
  frames = 0;
  readonly #crypto: Crypto;
  readonly #added: Beside["added"];
  #waiting: readonly (readonly [FrameKind, Uint8Array])[] = [];

  constructor(crypto: Crypto, added: Beside["added"]) {
    this.#crypto = crypto;
    this.#added = added;
  }

  *put(kind: FrameKind, body: Uint8Array): Generator<Uint8Array> {
    yield* this.due(kind);
    this.frames++;
    if (kind === "HEADER") {
      const { tenantId, ledgers } = PackHeader.decode(body);
      yield frame(kind, PackHeader.encode({ tenantId, ledgers: ledgers + 1 }));
      return;
    }
    yield frame(kind, body);
    if (kind !== "GENESIS") return;
    const id = toHex(refOf(this.#crypto, "genesis", SignedBytes.decode(body).body));
    const { heartbeats, transitions } = this.#added(id);
    this.#waiting = [
      ...heartbeats.map((b) => ["HEARTBEAT", b] as const),
      ...transitions.map((b) => ["TRANSITION", b] as const),
    ];
  }

  /** What has its place before a frame of this kind; before a new section, all of it. */
  *due(next: FrameKind): Generator<Uint8Array> {
    const isDue = ([kind]: readonly [FrameKind, Uint8Array]) =>
      next === "GENESIS" || FRAME_KINDS.indexOf(kind) <= FRAME_KINDS.indexOf(next);
    const now = this.#waiting.filter(isDue);
    this.#waiting = this.#waiting.filter((w) => !isDue(w));
    this.frames += now.length;
    for (const [kind, body] of now) yield frame(kind, body);
  }
}
