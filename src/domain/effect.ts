import type { Claim } from "./claim.ts";

/** How what merely asks is called, by those who follow conventions. */
const ASKS = /^(?:get|list|read|watch|search|query|check|describe|find|count|fetch)(?![a-z])/i;

/**
 * Whether an action may change something, as far as its name says: HTTP's safe methods (RFC 9110
 * §9.2.1) do not, nor what is called `GetPayment` or `list_files`. A guess: nothing is allowed by it.
 */
export function mayChange({ protocol, verb, path }: Claim): boolean {
  if (protocol === "HTTP") return !/^(?:GET|HEAD|OPTIONS|TRACE)$/.test(verb);
  if (protocol === "MCP" && verb !== "tools/call") return false;
  return !ASKS.test(path.slice(path.lastIndexOf("/") + 1));
}
