import { mcpResumesMax, mcpResumeUs } from "../../src/domain/limits.ts";
import type { Clock, Timer } from "../../src/native/clock.ts";
import { idKey, type McpId, type McpResponse } from "./mcp-message.ts";

/** A call whose stream ended before its answer came, and that still holds its permit. */
export interface Resumable {
  /** Its answer has come by another stream. @returns what the agent is to hear: that, or why not. */
  resumed(message: McpResponse, raw: Buffer): Promise<Buffer>;
  /** Nobody has come back for it. */
  forsaken(): void;
}

interface Waiting {
  readonly session: string;
  readonly call: Resumable;
  timer: Timer;
}

/**
 * Calls that wait to be taken up again, by HTTP's GET with Last-Event-ID: in 2025-11-25 a server may end
 * a call's stream and have the agent come back for the rest, and a broken connection is no end of a call.
 */
export class McpResumes {
  readonly #clock: Clock;
  readonly #waiting = new Map<string, Waiting>();
  /** How many streams are open in a session that take up what another one left. */
  readonly #listening = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @returns false: one with this id waits, or too many do. */
  add(session: string, id: McpId, call: Resumable): boolean {
    const key = keyOf(session, id);
    if (this.#waiting.has(key) || this.#waiting.size >= mcpResumesMax) return false;
    this.#waiting.set(key, { session, call, timer: this.#timer(key) });
    return true;
  }

  /** Takes out the call that an answer is to; null: none waits for it. */
  take(session: string, id: McpId): Resumable | null {
    const key = keyOf(session, id);
    const waiting = this.#waiting.get(key) ?? null;
    this.#waiting.delete(key);
    waiting?.timer.cancel();
    return waiting?.call ?? null;
  }

  /** Somebody has come back. @returns what to call once they are gone: whatever still waits, waits anew. */
  listen(session: string): () => void {
    const count = (by: number): number => (this.#listening.get(session) ?? 0) + by;
    this.#listening.set(session, count(1));
    return () => {
      if (count(-1) > 0) this.#listening.set(session, count(-1));
      else this.#listening.delete(session);
      for (const [key, waiting] of this.#waiting) {
        if (waiting.session !== session) continue;
        waiting.timer.cancel();
        waiting.timer = this.#timer(key);
      }
    };
  }

  #timer(key: string): Timer {
    return this.#clock.after(mcpResumeUs, () => {
      const waiting = this.#waiting.get(key) as Waiting;
      if (this.#listening.has(waiting.session)) {
        waiting.timer = this.#timer(key);
      } else {
        this.#waiting.delete(key);
        waiting.call.forsaken();
      }
    });
  }
}

const keyOf = (session: string, id: McpId): string => `${session} ${idKey(id)}`;
