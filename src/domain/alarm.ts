import { bytes, message, nested, oneOf, u32 } from "./canonical.ts";
import { SignedBytes } from "./signed.ts";

/** JOIN_KEY_SPENT: a join key that had opened every ledger its dock allows signed one more genesis. */
export const ALARMS = ["UNSPECIFIED", "JOIN_KEY_SPENT"] as const;
export type AlarmKind = (typeof ALARMS)[number];

/**
 * Something that was refused and that people should look into all the same: a join token is in more
 * hands than it was made for. It carries the genesis that was refused, whose signatures prove it.
 */
export const AlarmBody = message("alarm", {
  version: u32(1),
  kind: oneOf(2, ALARMS),
  dockRef: bytes(3, 32),
  joinKey: bytes(4, 32),
  genesis: nested(5, SignedBytes),
});
export type Alarm = ReturnType<typeof AlarmBody.decode>;
