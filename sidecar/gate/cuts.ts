import type { Reason } from "../../src/domain/reason.ts";

/** How far an action had come when leave for it was taken back. */
export type Shape =
  /** Everything was asked, nothing answered yet: all that is left is one answer. */
  | "answering"
  /** Messages may still pass either way. */
  | "streaming";

/**
 * What taking leave back does to an action in flight. When a lease merely ran out, what was asked
 * under it may be answered, within a cap; every other cause ends everything at once.
 */
export const mayFinish = (reason: Reason, shape: Shape): boolean =>
  reason === "LEASE_EXPIRED" && shape === "answering";

/** Whether half a message may still arrive whole, for a moment. Bytes that are spent are spent there. */
export const mayCompleteMessage = (reason: Reason): boolean => reason !== "LIMIT_SPENT";
