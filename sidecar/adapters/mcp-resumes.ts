import { mcpEventIdsMax, mcpResumesMax, mcpResumeUs } from "../../src/domain/limits.ts";
import type { Clock, Timer } from "../../src/native/clock.ts";
import type { McpId, McpResponse } from "./mcp-message.ts";

/** A call whose stream ended before its answer came, and that still holds its permit. */
export interface Resumable {
  /** What its agent may go on from. */
  readonly trail: EventTrail;
  /** Whether it is this request's answer that it is owed. */
  owes(id: McpId | null): boolean;
  /** Its answer has come by another stream. @returns what the agent is to hear: that, or why not. */
  resumed(message: McpResponse, raw: Buffer): Promise<Buffer>;
  /** Nobody has come back for it. */
  forsaken(): void;
}

/** Ids of the events that an agent was given of one call, the newest of them. */
export class EventTrail {
  readonly #ids = new Set<string>();

  get isEmpty(): boolean {
    return this.#ids.size === 0;
  }

  add(id: string): void {
    this.#ids.add(id);
    if (this.#ids.size <= mcpEventIdsMax) return;
    for (const oldest of this.#ids) {
      this.#ids.delete(oldest);
      break;
    }
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }
}

interface Waiting {
  readonly session: string;
  timer: Timer;
  /** Streams that have taken it up, and last. */
  held: number;
}

/**
 * Calls that wait to be taken up again, by HTTP's GET with Last-Event-ID: in 2025-11-25 a server may end
 * a call's stream and have the agent come back for the rest, and a broken connection is no end of a call.
 * A stream goes on with the call whose event it names, and with no other: ids of requests may be used
 * again, and what one call may say another may not.
 */
export class McpResumes {
  readonly #clock: Clock;
  readonly #waiting = new Map<Resumable, Waiting>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @returns false: too many wait. */
  add(session: string, call: Resumable): boolean {
    if (this.#waiting.size >= mcpResumesMax) return false;
    this.#waiting.set(call, { session, timer: this.#timer(call), held: 0 });
    return true;
  }

  /** The call that a stream goes on with from an event; null: none that waits. */
  find(session: string, event: string): Resumable | null {
    for (const [call, waiting] of this.#waiting) {
      if (waiting.session === session && call.trail.has(event)) return call;
    }
    return null;
  }

  /** A stream has taken it up: it waits as long as that lasts, and then anew. @returns what ends that. */
  hold(call: Resumable): () => void {
    const waiting = this.#waiting.get(call) as Waiting;
    waiting.held++;
    return () => {
      waiting.held--;
      if (!this.#waiting.has(call)) return;
      waiting.timer.cancel();
      waiting.timer = this.#timer(call);
    };
  }

  /** It waits no longer, since its answer is here. @returns false: it did not. */
  take(call: Resumable): boolean {
    this.#waiting.get(call)?.timer.cancel();
    return this.#waiting.delete(call);
  }

  #timer(call: Resumable): Timer {
    return this.#clock.after(mcpResumeUs, () => {
      const waiting = this.#waiting.get(call) as Waiting;
      if (waiting.held > 0) {
        waiting.timer = this.#timer(call);
      } else {
        this.#waiting.delete(call);
        call.forsaken();
      }
    });
  }
}
