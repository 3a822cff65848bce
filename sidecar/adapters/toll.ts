import { ByteQueue } from "../../src/h2/byte-queue.ts";
import type { Permit } from "../gate/permit.ts";

/**
 * One direction of a call's body: each piece passes once leave for its bytes is given, in order, and
 * what comes while the disk is being asked waits here.
 */
export class Toll {
  readonly #permit: Permit;
  readonly #pass: (chunk: Buffer) => void;
  /** null: nobody had to wait yet. */
  #waiting: ByteQueue | null = null;
  #asking = false;
  #end: (() => void) | null = null;

  constructor(permit: Permit, pass: (chunk: Buffer) => void) {
    this.#permit = permit;
    this.#pass = pass;
  }

  push(chunk: Buffer): void {
    if (this.#asking) {
      this.#waiting ??= new ByteQueue();
      this.#waiting.push(chunk);
      return;
    }
    const leave = this.#permit.spend(chunk.length);
    if (leave === true) this.#pass(chunk);
    else void this.#ask(leave, chunk);
  }

  /** Calls back once everything has passed; never, when leave was not given. */
  ended(done: () => void): void {
    if (this.#asking) this.#end = done;
    else done();
  }

  async #ask(leave: Promise<boolean>, first: Buffer): Promise<void> {
    this.#asking = true;
    let asked = leave;
    let chunk: Buffer | null = first;
    while (chunk !== null && (await asked)) {
      this.#pass(chunk);
      chunk = this.#waiting?.first ?? null;
      if (chunk === null) continue;
      this.#waiting?.advance(chunk.length);
      asked = Promise.resolve(this.#permit.spend(chunk.length));
    }
    // Without leave the call is cut, and nothing of it passes any more.
    if (chunk !== null) return;
    this.#asking = false;
    this.#end?.();
  }
}
