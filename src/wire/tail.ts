import type { DescMessage } from "@bufbuild/protobuf";
import type { Queue } from "./queue.ts";
import type { Answer } from "./rpc.ts";

/**
 * What a streaming handler returns when all that is left of it is a queue: the rest of its answers. What
 * carries the call then takes them from there, and a stream that waits for hours holds no handler.
 */
export class Tail<D extends DescMessage = DescMessage> {
  readonly queue: Queue<Answer<D>>;
  /** Called once, when all of it was answered or nobody waits for it any more. */
  readonly done: () => void;

  constructor(queue: Queue<Answer<D>>, done: () => void) {
    this.queue = queue;
    this.done = done;
  }

  /** Nobody waits for it any more. */
  leave(): void {
    this.queue.leave();
    this.done();
  }
}
