import { conditionBodyBytesMax, conditionBodyUs } from "../../src/domain/limits.ts";
import type { Readable } from "../../src/domain/read-inputs.ts";
import type { Clock } from "../../src/native/clock.ts";
import type { HttpClientSide } from "./http-client.ts";
import { GONE } from "./http-wire.ts";

type Piece = Awaited<ReturnType<HttpClientSide["read"]>>;

/**
 * The body of a request that conditions may ask to see before anything of it is forwarded: what was
 * held back is read again, byte for byte, in the same pieces, and then the rest.
 */
export class HeldBody {
  readonly #client: HttpClientSide;
  readonly #held: Promise<Piece>[] = [];

  constructor(client: HttpClientSide) {
    this.#client = client;
  }

  read(): Promise<Piece> {
    return this.#held.shift() ?? this.#client.read();
  }

  /** All of the body, or why conditions cannot have it. To be called before anything is read. */
  async hold(clock: Clock): Promise<NonNullable<Readable["body"]>> {
    const { framing } = this.#client;
    if (framing.kind === "length" && framing.bytes > conditionBodyBytesMax) return "TOO_LONG";
    let ring = (): void => {};
    const late = new Promise<"TOO_LATE">((resolve) => {
      ring = () => resolve("TOO_LATE");
    });
    const timer = clock.after(conditionBodyUs, ring);
    try {
      return await this.#hold(late);
    } finally {
      timer.cancel();
    }
  }

  async #hold(late: Promise<"TOO_LATE">): Promise<NonNullable<Readable["body"]>> {
    const pieces: Uint8Array[] = [];
    for (let bytes = 0; bytes <= conditionBodyBytesMax; ) {
      const next = this.#client.read();
      this.#held.push(next);
      const piece = await Promise.race([next, late]);
      if (piece === "TOO_LATE") return piece;
      if (piece === null) return Buffer.concat(pieces);
      if (piece === GONE || "malformed" in piece) return "BROKEN_OFF";
      pieces.push(piece);
      bytes += piece.length;
    }
    return "TOO_LONG";
  }
}
