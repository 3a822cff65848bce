import { mcpAsksMax } from "../../src/domain/limits.ts";
import type { Reason } from "../../src/domain/reason.ts";
import type { Gate } from "../gate/gate.ts";
import type { Permit } from "../gate/permit.ts";
import type { Ending } from "./exchange.ts";
import { LOCAL_ENDING, oneMessage } from "./mcp-guard.ts";
import { idKey, type McpId } from "./mcp-message.ts";

/** A request of an MCP server that was passed on to the agent, by the permit that let it through. */
export interface McpAsk {
  readonly permit: Permit;
  /** As the agent was given it. */
  readonly asked: Buffer;
  /** What it came by, with whose end nobody is left who could be answered. */
  readonly by: object;
}

/**
 * Requests of servers that wait for the agent's answer: it is let through by the permit of what it
 * answers, and an answer to nothing goes nowhere.
 */
export class McpAsks {
  readonly #gate: Gate;
  readonly #sessions = new Map<string, Map<string, McpAsk>>();

  constructor(gate: Gate) {
    this.#gate = gate;
  }

  /**
   * Takes charge of one, until it is taken, its leave is, or what it came by ends.
   *
   * @param session where the id counts. @returns whether it may be passed on; else it is settled.
   */
  add(session: string, id: McpId, ask: McpAsk): boolean {
    const waiting = this.#sessions.get(session) ?? new Map<string, McpAsk>();
    const key = idKey(id);
    const { cutBy } = ask.permit;
    if (cutBy !== null) {
      this.#settle(ask, "CUT", cutBy.reason, cutBy.message, {});
    } else if (waiting.has(key) || waiting.size >= mcpAsksMax) {
      this.#settle(ask, "FAILED", "OVERLOADED", "one with this id waits, or too many do", {});
    } else {
      waiting.set(key, ask);
      this.#sessions.set(session, waiting);
      ask.permit.onCut(({ reason, message }) => {
        if (waiting.get(key) !== ask) return;
        this.take(session, id);
        this.#settle(ask, "CUT", reason, message);
      });
      return true;
    }
    return false;
  }

  /** Takes one out; null: nothing waits under this id. Whoever takes it settles its permit. */
  take(session: string, id: McpId): McpAsk | null {
    const waiting = this.#sessions.get(session);
    const ask = waiting?.get(idKey(id)) ?? null;
    waiting?.delete(idKey(id));
    if (waiting?.size === 0) this.#sessions.delete(session);
    return ask;
  }

  /** What they came by has ended: none of them waits any longer. */
  ended(session: string, by: object, reason: Reason, status: string): void {
    const waiting = this.#sessions.get(session) ?? new Map<string, McpAsk>();
    for (const [key, ask] of waiting) {
      if (ask.by !== by) continue;
      waiting.delete(key);
      this.#settle(ask, "FAILED", reason, status);
    }
    if (waiting.size === 0) this.#sessions.delete(session);
  }

  #settle(
    { permit, asked }: McpAsk,
    verdict: Ending["verdict"],
    reason: Reason,
    status: string,
    passed: Partial<Ending> = { response: oneMessage(asked) },
  ): void {
    this.#gate.settle(permit, { ...LOCAL_ENDING, ...passed, verdict, reason, status });
  }
}
