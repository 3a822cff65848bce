import { bytes, message, nested, oneOf, u32 } from "./canonical.ts";
import { SignedBytes } from "./signed.ts";

/**
 * JOIN_KEY_SPENT: a join key that had opened every ledger its dock allows signed one more genesis.
 * REMEDIES_SPENT: all that may be tried for a condition was tried, and it persists.
 */
export const ALARMS = ["UNSPECIFIED", "JOIN_KEY_SPENT", "REMEDIES_SPENT"] as const;
export type AlarmKind = (typeof ALARMS)[number];

/**
 * A call to operators: what happened needs people, whatever they watch. A join token is in more hands
 * than it was made for: the genesis that was refused is carried, whose signatures prove it. Or an
 * organism does not heal by itself: the transition that says so is.
 */
export const AlarmBody = message("alarm", {
  version: u32(1),
  kind: oneOf(2, ALARMS),
  dockRef: bytes(3, 32),
  joinKey: bytes(4, 32),
  /** Of JOIN_KEY_SPENT, as are dock and join key. */
  genesis: nested(5, SignedBytes),
  /** Of REMEDIES_SPENT. */
  transition: nested(6, SignedBytes),
});
export type Alarm = ReturnType<typeof AlarmBody.decode>;
