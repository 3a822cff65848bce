import { equal } from "../../src/domain/bytes.ts";
import { openNote, signCheckpoint } from "../../src/domain/checkpoint.ts";
import type { Crypto, Signer } from "../../src/domain/crypto.ts";
import { type Invalid, invalid, isInvalid } from "../../src/domain/invalid.ts";
import type { KeysetBody } from "../../src/domain/keyset.ts";
import { headsRememberedMax, noteSignaturesMax } from "../../src/domain/limits.ts";
import type { LedgerHead } from "../ledger/work-ledger.ts";

/**
 * The heads that this sidecar has beaten with, and the notes that came back. A note that speaks of
 * another head than ours is not ours to sign: somebody has a ledger with our name.
 */
export class CosignedHeads {
  readonly #crypto: Crypto;
  readonly #ledgerId: Uint8Array;
  readonly #ledgerSigner: Signer;
  /** By size. */
  readonly #roots = new Map<number, Uint8Array>();

  constructor(crypto: Crypto, ledgerId: Uint8Array, ledgerSigner: Signer) {
    this.#crypto = crypto;
    this.#ledgerId = ledgerId;
    this.#ledgerSigner = ledgerSigner;
  }

  remember({ size, root }: Pick<LedgerHead, "size" | "root">): void {
    this.#roots.set(size, root);
    for (const oldest of this.#roots.keys()) {
      if (this.#roots.size <= headsRememberedMax) break;
      this.#roots.delete(oldest);
    }
  }

  /** The note with both lines, the ledger's own first, once the cosigner's is verified. */
  async complete(note: string, keyset: KeysetBody): Promise<string | Invalid> {
    const [text, lines] = note.split("\n\n") as [string, string | undefined];
    // No more lines than a note may have: the rest would be refused, but only after work on each.
    const names = ((lines ?? "").match(/(?<=^— )\S+/gmu) ?? []).slice(0, noteSignaturesMax);
    const cosigners = keyset.keys.filter((k) => k.role === "COSIGNER");
    const keys = cosigners.flatMap(({ key }) =>
      [...new Set(names)].map((name) => ({ role: "COSIGNER" as const, name, key })),
    );
    const opened = openNote(this.#crypto, note, keys);
    if (isInvalid(opened)) return opened;
    const { checkpoint } = opened;
    const root = this.#roots.get(checkpoint.size);
    if (!equal(checkpoint.ledgerId, this.#ledgerId) || !root || !equal(root, checkpoint.root)) {
      return invalid("E_LEDGER", `checkpoint: ${text.split("\n")[1]} is no head of this ledger`);
    }
    return (await signCheckpoint(this.#crypto, checkpoint, this.#ledgerSigner)) + lines;
  }
}
