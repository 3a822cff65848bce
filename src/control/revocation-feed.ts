import { revocationsAtOnceMax } from "../domain/limits.ts";
import type { RevocationBody } from "../domain/revocation.ts";
import type { Verified } from "../domain/signed.ts";
import { AttachResponseSchema } from "../gen/dragons/v1/tether_pb.ts";
import { toWire } from "../wire/artifacts.ts";
import { Encoded } from "../wire/encoded.ts";
import { encode } from "../wire/messages.ts";

export type DownAnswer = Encoded<typeof AttachResponseSchema>;

/** Revocations in a row, as a sidecar is told them. */
interface Run {
  readonly answer: DownAnswer;
  /** Epoch of the last one. */
  readonly epoch: number;
}

/**
 * The revocations of one tenant that may be told. Thousands of sidecars are told the same ones: each is
 * encoded once, and so is each run of them that somebody missed.
 */
export class RevocationFeed {
  readonly #revocations: readonly Verified<RevocationBody>[];
  /** By epoch. */
  readonly #encoded = new Map<number, Uint8Array>();
  /** By the epoch before. */
  readonly #runs = new Map<number, Run>();
  #epoch: number;

  /** @param revocations of the tenant: epoch e at index e − 1, durable or not by now */
  constructor(revocations: readonly Verified<RevocationBody>[]) {
    this.#revocations = revocations;
    this.#epoch = revocations.length;
  }

  /** Of the last one that may be told: it is durable. */
  get epoch(): number {
    return this.#epoch;
  }

  /** One more is durable. */
  recorded(epoch: number): void {
    this.#epoch = Math.max(this.#epoch, epoch);
    this.#runs.clear();
  }

  /** What follows an epoch, in order, as far as it is told at once; null: nothing does. */
  after(epoch: number): Run | null {
    if (epoch >= this.#epoch) return null;
    const run = this.#runs.get(epoch) ?? this.#run(epoch);
    this.#runs.set(epoch, run);
    return run;
  }

  /** Everybody was told: what was made is let go of. */
  rest(): void {
    this.#encoded.clear();
    this.#runs.clear();
  }

  #run(after: number): Run {
    const epoch = Math.min(this.#epoch, after + revocationsAtOnceMax);
    const messages: Uint8Array[][] = [];
    for (let e = after + 1; e <= epoch; e++) messages.push([this.#one(e)]);
    return { answer: Encoded.inARow(AttachResponseSchema, messages), epoch };
  }

  #one(epoch: number): Uint8Array {
    const known = this.#encoded.get(epoch);
    if (known !== undefined) return known;
    const { signed } = this.#revocations[epoch - 1] as Verified<RevocationBody>;
    const value = toWire(signed);
    const made = encode(AttachResponseSchema, { message: { case: "revocation", value } });
    this.#encoded.set(epoch, made);
    return made;
  }
}
