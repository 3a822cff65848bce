import { beatsRememberedMax, notesRememberedMax } from "../../src/domain/limits.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";

/**
 * The newest heartbeats as they were signed, and the notes that came back on their heads: of each head the
 * first and the newest, so that a pack can show how long nothing happened under it. In memory: what lies
 * before a start is shown by receipts and leases alone.
 */
export class BeatMemory {
  readonly #beats: SignedBytes[] = [];
  /** By head, the oldest first. */
  readonly #notes = new Map<string, { readonly first: string; newest: string }>();

  beaten(signed: SignedBytes): void {
    this.#beats.push(signed);
    if (this.#beats.length > beatsRememberedMax) this.#beats.shift();
  }

  cosigned(note: string): void {
    const head = note.slice(0, note.indexOf("\n\n"));
    const known = this.#notes.get(head);
    if (known !== undefined) {
      known.newest = note;
      return;
    }
    this.#notes.set(head, { first: note, newest: note });
    const [oldest] = this.#notes.keys();
    if (this.#notes.size > notesRememberedMax && oldest !== undefined) this.#notes.delete(oldest);
  }

  beats(): readonly SignedBytes[] {
    return this.#beats;
  }

  notes(): string[] {
    return [...this.#notes.values()].flatMap(({ first, newest }) =>
      first === newest ? [first] : [first, newest],
    );
  }
}
