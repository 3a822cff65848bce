import { forgivenStreamsMax } from "../domain/limits.ts";

/** Streams that we reset while their peer was still sending: what was under way then is no fault of it. */
export class ClosedStreams {
  /** Ids, the oldest first. Of most connections there are none. */
  #forgiven: Set<number> | null = null;

  forgive(id: number): void {
    this.#forgiven ??= new Set();
    this.#forgiven.add(id);
    if (this.#forgiven.size <= forgivenStreamsMax) return;
    for (const oldest of this.#forgiven) {
      this.#forgiven.delete(oldest);
      break;
    }
  }

  forgives(id: number): boolean {
    return this.#forgiven?.has(id) ?? false;
  }

  /** The peer has reset it, too: nothing more is under way. */
  forget(id: number): void {
    this.#forgiven?.delete(id);
  }
}
