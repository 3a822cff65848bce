import { isLocalName, isLoopback, splitTarget } from "../upstream/address.ts";

/**
 * Whether a request may be for `target` on a connection that was bound to `bound`, both `host:port`
 * and normalised. An agent that looks up `localhost` dials the loopback address, and only that one
 * name is known to everybody without asking.
 */
export function isBoundFor(bound: string, target: string): boolean {
  if (bound === "" || bound === target) return true;
  const dialled = splitTarget(bound);
  const asked = splitTarget(target);
  return dialled.port === asked.port && isLoopback(dialled.host) && isLocalName(asked.host);
}
