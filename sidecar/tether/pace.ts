import { heartbeatDeclaredUsMax } from "../../src/domain/limits.ts";

/** As much lateness as this part of an interval doubles it. */
const STRAIN = 1 / 10;

/**
 * How long until the next beat, in microseconds: a little more or less than the interval, so that a
 * fleet's beats spread out by themselves, and up to twice as long while this process or the control
 * plane is late. Leases are renewed in time all the same: there are six intervals in one.
 *
 * @param lagUs how late the event loop was, or the control plane's answer is
 * @param chance from 0 to 1
 */
export function pace(intervalUs: number, lagUs: number, chance: number): number {
  const strain = Math.min(lagUs / (intervalUs * STRAIN), 1);
  const jitter = 0.9 + 0.2 * chance;
  return Math.round(Math.min(intervalUs * (1 + strain) * jitter, heartbeatDeclaredUsMax));
}

/**
 * How long until it is tried again to attach, in microseconds: by chance, since a fleet that lost its control
 * plane must not come back as one; and the sooner, the less is left of the lease in hand, since a control plane
 * serves those who come in the order in which they come. Whoever holds none has nothing to lose by waiting.
 *
 * @param left which part of the lease in hand is left, from 0 to 1; 0: none is held
 * @param chance from 0 to 1
 */
export const attachAgainUs = (backoffUs: number, left: number, chance: number): number =>
  Math.round(chance * backoffUs * (left > 0 ? left : 1));
