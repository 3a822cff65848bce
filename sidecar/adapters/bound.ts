import { isIP } from "node:net";
import { isLocalName, isLoopback, splitTarget } from "../upstream/address.ts";

/**
 * Whether a request may be for `target` on a connection that its agent dialled as `ip:port`: for that
 * very address, or for a name there. Whether the name leads to the address shows when it is resolved.
 */
export function isMeantFor(dialled: string, target: string): boolean {
  if (dialled === "") return true;
  const meant = splitTarget(dialled);
  const asked = splitTarget(target);
  return meant.port === asked.port && (isIP(asked.host) === 0 || asked.host === meant.host);
}

/** The address that a connection is to; empty: none was dialled, so that the name alone decides. */
export const addressOf = (dialled: string): string =>
  dialled === "" ? "" : splitTarget(dialled).host;

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
