import { mcpAsksMax } from "../../src/domain/limits.ts";
import type { Permit } from "../gate/permit.ts";
import { idKey, type McpId } from "./mcp-message.ts";

/** A request of an MCP server that was passed on to the agent, by the permit that let it through. */
export interface McpAsk {
  readonly permit: Permit;
  readonly method: string;
  /** As the agent was given it. */
  readonly asked: Buffer;
}

/**
 * Requests of servers that wait for the agent's answer: it is let through by the permit of what it
 * answers, and an answer to nothing goes nowhere.
 */
export class McpAsks {
  readonly #sessions = new Map<string, Map<string, McpAsk>>();

  /** @param session where the id counts. @returns false: one with this id waits, or too many do. */
  add(session: string, id: McpId, ask: McpAsk): boolean {
    const waiting = this.#sessions.get(session) ?? new Map<string, McpAsk>();
    if (waiting.has(idKey(id)) || waiting.size >= mcpAsksMax) return false;
    waiting.set(idKey(id), ask);
    this.#sessions.set(session, waiting);
    return true;
  }

  /** Takes one out; null: nothing waits under this id. Whoever takes it settles its permit. */
  take(session: string, id: McpId): McpAsk | null {
    const waiting = this.#sessions.get(session);
    const ask = waiting?.get(idKey(id)) ?? null;
    waiting?.delete(idKey(id));
    if (waiting?.size === 0) this.#sessions.delete(session);
    return ask;
  }
}
