import { message, nested, oneOf, repeated, str, u32, u64 } from "./canonical.ts";

export const PROTOCOLS = ["UNSPECIFIED", "GRPC", "HTTP", "MCP", "OPAQUE"] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/** A value that a condition read, typed and spelled one way: `42`, `true`, or the text itself. */
export const Input = message("input", {
  name: str(1),
  type: oneOf(2, ["UNSPECIFIED", "INT", "STRING", "BOOL"] as const),
  value: str(3),
});

/** What was left to spend in a scope just before the decision. */
export const LimitState = message("limitState", {
  scope: str(1),
  actionsLeft: u64(2),
  bytesLeft: u64(3),
  concurrentLeft: u64(4),
});
export type LimitState = ReturnType<typeof LimitState.decode>;

/**
 * All that the gate decides from: the action, normalised once. The request that is forwarded is the
 * one that stands here.
 */
export const ClaimBody = message("claim", {
  version: u32(1),
  protocol: oneOf(2, PROTOCOLS),
  /** `host:port`, lower case, port always written: `payments.internal:443`, `[::1]:7000`. */
  target: str(3),
  /** HTTP method or MCP method; absent for gRPC, which has none of its own. */
  verb: str(4),
  /** `/payments.v1.Payments/Get` for gRPC. */
  path: str(5),
  /** Sorted by name. */
  inputs: repeated(nested(6, Input)),
  limitState: repeated(nested(7, LimitState)),
});
export type Claim = ReturnType<typeof ClaimBody.decode>;
