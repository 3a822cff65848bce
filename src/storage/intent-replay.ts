import { equal } from "../domain/bytes.ts";
import { type IntentLink, nextIntentsHead } from "../domain/chain.ts";
import type { Crypto } from "../domain/crypto.ts";

/**
 * Runs the intent chain again from what is left of it: links of closed intents come with their
 * receipts, in closing order, those of open ones from their rows. Holds no more than was open at once.
 */
export class IntentReplay {
  readonly #crypto: Crypto;
  /** Links that came before their turn. */
  readonly #early = new Map<number, IntentLink>();
  /** Heads that were claimed before they were reached. */
  readonly #claimed = new Map<number, Uint8Array>();
  #opened: number;
  #head: Uint8Array;

  /** From I_`opened` = `head` onwards. */
  constructor(crypto: Crypto, opened: number, head: Uint8Array) {
    this.#crypto = crypto;
    this.#opened = opened;
    this.#head = head;
  }

  /** How far it has come. */
  get opened(): number {
    return this.#opened;
  }

  /** null, or what is wrong. */
  add(intentSeq: number, link: IntentLink): string | null {
    if (intentSeq <= this.#opened || this.#early.has(intentSeq)) {
      return `intent ${intentSeq} is there twice`;
    }
    this.#early.set(intentSeq, link);
    for (;;) {
      const next = this.#early.get(this.#opened + 1);
      if (next === undefined) return null;
      this.#opened += 1;
      this.#early.delete(this.#opened);
      this.#head = nextIntentsHead(this.#crypto, this.#head, next);
      const claimed = this.#claimed.get(this.#opened);
      this.#claimed.delete(this.#opened);
      if (claimed !== undefined && !equal(claimed, this.#head)) {
        return `intents 1 to ${this.#opened} lead to another head`;
      }
    }
  }

  /** Somebody says that I_`opened` is `head`. */
  claim(opened: number, head: Uint8Array): string | null {
    if (opened > this.#opened) this.#claimed.set(opened, head);
    else if (opened === this.#opened && !equal(head, this.#head)) {
      return `intents 1 to ${opened} lead to another head`;
    }
    return null;
  }

  /** All links are in, and this is where they are said to end. */
  end(opened: number, head: Uint8Array): string | null {
    if (this.#opened < opened || this.#early.size > 0) {
      return `intent ${this.#opened + 1} is missing`;
    }
    if (this.#opened > opened || this.#claimed.size > 0) {
      return `${opened} intents are said to be open, ${this.#opened} are shown`;
    }
    return equal(head, this.#head) ? null : `intents 1 to ${opened} lead to another head`;
  }
}
