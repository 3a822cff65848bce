const leavesPerFrame = 4096;

/** Bodies of LEAVES frames: leaf hashes, end to end, as many in one as a frame is to have. */
export class LeafFrames {
  readonly #bodies: Uint8Array[] = [];
  #in = leavesPerFrame;

  push(leaf: Uint8Array): void {
    if (this.#in === leavesPerFrame) {
      this.#bodies.push(new Uint8Array(leavesPerFrame * 32));
      this.#in = 0;
    }
    (this.#bodies.at(-1) as Uint8Array).set(leaf, this.#in * 32);
    this.#in++;
  }

  bodies(): Uint8Array[] {
    const last = this.#bodies.length - 1;
    return this.#bodies.map((b, i) => (i === last ? b.subarray(0, this.#in * 32) : b));
  }
}
