import type { Claim } from "../../src/domain/claim.ts";
import { mcpClaim } from "./mcp-message.ts";

/** Of a list, where its entries stand, what names one, and how it would be asked for. */
const LISTS: Readonly<Record<string, { entries: string; name: string; verb: string }>> = {
  "tools/list": { entries: "tools", name: "name", verb: "tools/call" },
  "prompts/list": { entries: "prompts", name: "name", verb: "prompts/get" },
  "resources/list": { entries: "resources", name: "uri", verb: "resources/read" },
};

/**
 * A list's answer without the entries that could not be asked for. What is left is written anew where
 * something was left out; else it is what it was, byte for byte.
 *
 * @param answer a JSON-RPC response that was read strictly.
 */
export function filterList(
  server: string,
  method: string,
  answer: Buffer,
  allows: (claim: Claim) => boolean,
): Buffer {
  const list = LISTS[method];
  if (list === undefined) return answer;
  const message = JSON.parse(answer.toString("utf8")) as { result?: Record<string, unknown> };
  const entries = message.result?.[list.entries];
  if (!Array.isArray(entries)) return answer;
  const kept = entries.filter((entry: unknown) => {
    const name = (entry as Record<string, unknown> | null)?.[list.name];
    return typeof name === "string" && allows(mcpClaim(server, list.verb, name));
  });
  if (kept.length === entries.length) return answer;
  const result = { ...message.result, [list.entries]: kept };
  return Buffer.from(JSON.stringify({ ...message, result }));
}
