import { heartbeatDeclaredUsMax, leaseRenewedAt } from "../../src/domain/limits.ts";

/** Who is late by this part of an interval leaves every other beat out. */
const STRAIN = 1 / 10;

/**
 * How long until the next beat, in microseconds: a little more or less than the interval, so that a
 * fleet's beats spread out by themselves. While this process or the control plane is late a beat is left out now
 * and then, by chance, up to every other one. Nobody's beats are moved by how late the answer was: those of
 * thousands who waited together would all come down on others, who would wait in their turn. Leases are
 * renewed in time all the same: there are six intervals in one.
 *
 * @param lagUs how late the event loop was, or the control plane's answer is
 * @param chance from 0 to 1
 */
export function pace(intervalUs: number, lagUs: number, chance: number): number {
  const strain = Math.min(lagUs / (intervalUs * STRAIN), 1);
  const isLeftOut = strain > 0 && chance <= strain;
  // What is left of the chance once that is decided.
  const rest = isLeftOut ? chance / strain : (chance - strain) / (1 - strain);
  const jitter = 0.9 + 0.2 * rest;
  return Math.round(Math.min(intervalUs * (isLeftOut ? 2 : 1) * jitter, heartbeatDeclaredUsMax));
}

/** Of a lease so much is left when it is renewed. */
const RENEWED = 1 - leaseRenewedAt;
/** Less than this left makes nobody come sooner: the end of a lease would be run up to ever faster. */
const LEFT_MIN = 1 / 10;

/**
 * How long until it is tried again to attach, in microseconds. A control plane serves those who come in the order in
 * which they come: so those who had least left of their leases when they lost it come first, as a rule, and who must wait
 * longest can. By chance as well, since a fleet that lost its control plane must not come back as one; and the sooner, the
 * less is left now. Whoever holds no lease has nothing to lose by waiting.
 *
 * @param leftThen which part of the lease in hand was left when the last session ended, from 0 to 1
 * @param left the same now; 0: none is held
 * @param chance from 0 to 1
 */
export function attachAgainUs(
  backoffUs: number,
  leftThen: number,
  left: number,
  chance: number,
): number {
  if (left <= 0) return Math.round(chance * backoffUs);
  const place = Math.max(leftThen - RENEWED, 0) / (1 - RENEWED);
  return Math.round(((place + chance) / 2) * Math.max(left, LEFT_MIN) * backoffUs);
}
