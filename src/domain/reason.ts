/**
 * Why something was refused, cut or left open: one closed list, rendered everywhere by one table
 * (docs/reasons.md). The index is the wire value, so the list only ever grows at its end.
 */
export const REASONS = [
  "UNSPECIFIED",
  // Authority
  "NO_LEASE",
  "LEASE_NOT_YET_VALID",
  "LEASE_EXPIRED",
  "LEASE_REVOKED",
  "LEASE_MISMATCH",
  "MANIFEST_NOT_RECORDED",
  "MANIFEST_DRIFT",
  "QUARANTINED",
  "STOPPED",
  "SCOPE_NOT_GRANTED",
  "CONDITION_FALSE",
  "CONDITION_UNEVALUABLE",
  "LIMIT_SPENT",
  // The request
  "CALLER_UNIDENTIFIED",
  "REQUEST_NOT_NORMAL",
  "AUTHORITY_MISMATCH",
  "TARGET_FORBIDDEN",
  "PROTOCOL_UNSUPPORTED",
  "FRAMING_INVALID",
  "MESSAGE_TOO_LARGE",
  // Ourselves and the upstream
  "LEDGER_UNAVAILABLE",
  "OVERLOADED",
  "UPSTREAM_UNREACHABLE",
  "UPSTREAM_FAILED",
  // How an admitted action ended
  "CLIENT_CANCELLED",
  "DEADLINE_EXCEEDED",
  "HANDOFF",
  "CRASHED",
  // Authority, continued
  "MANIFEST_RETIRED",
] as const;

export type Reason = (typeof REASONS)[number];

/** How one reason looks in each protocol. */
export interface Rendering {
  /** gRPC status code, as a number. */
  readonly grpc: number;
  readonly http: number;
  /** In answer to MCP `tools/call`: a RESULT with isError, for the model to act on, or an ERROR. */
  readonly mcp: "RESULT" | "ERROR";
  /** Exit code of a command that ends because of it. */
  readonly exit: number;
  /** A short sentence for whoever asked; `detail` of a refusal says more. */
  readonly sentence: string;
}

/** In answer to any other MCP request: a JSON-RPC error outside the range that JSON-RPC keeps. */
export const mcpCode = (reason: Reason): number => -31_000 - RENDERINGS[reason].http;

const kind =
  (grpc: number, http: number, mcp: "RESULT" | "ERROR", exit: number) =>
  (sentence: string): Rendering => ({ grpc, http, mcp, exit, sentence });

/** Authority was asked for and is not there: PERMISSION_DENIED, whatever is missing. */
const forbidden = kind(7, 403, "RESULT", 2);
/** RESOURCE_EXHAUSTED */
const spent = kind(8, 429, "RESULT", 2);
const tooLarge = kind(8, 413, "ERROR", 2);
/** UNAUTHENTICATED; exit 77: not permitted. */
const unidentified = kind(16, 407, "ERROR", 77);
/** INVALID_ARGUMENT */
const ambiguous = kind(3, 400, "ERROR", 2);
/** INTERNAL, as gRPC calls bytes that are not gRPC. */
const malformed = kind(13, 400, "ERROR", 2);
const crashed = kind(13, 500, "ERROR", 1);
/** UNIMPLEMENTED */
const unsupported = kind(12, 501, "ERROR", 2);
/** UNAVAILABLE: on our side (exit 75: try again), on the way (69: unreachable), on the other side. */
const unavailable = kind(14, 503, "RESULT", 75);
const unreachable = kind(14, 502, "RESULT", 69);
const brokenOff = kind(14, 502, "RESULT", 1);
/** CANCELLED */
const cancelled = kind(1, 499, "ERROR", 1);
/** DEADLINE_EXCEEDED */
const late = kind(4, 504, "RESULT", 1);

/** The one table. docs/reasons.md is written from it. */
export const RENDERINGS: Readonly<Record<Reason, Rendering>> = {
  UNSPECIFIED: crashed("No reason was given."),
  NO_LEASE: forbidden("The agent holds no lease."),
  LEASE_NOT_YET_VALID: forbidden("The agent's lease has not begun."),
  LEASE_EXPIRED: forbidden("The agent's lease has ended."),
  LEASE_REVOKED: forbidden("The agent's lease was taken back."),
  LEASE_MISMATCH: forbidden("The lease held is for another agent."),
  MANIFEST_NOT_RECORDED: forbidden("No operator has recorded the agent's manifest."),
  MANIFEST_DRIFT: forbidden("The agent's files are not those of its manifest."),
  QUARANTINED: forbidden("The agent is in quarantine."),
  STOPPED: forbidden("The agent was stopped."),
  SCOPE_NOT_GRANTED: forbidden("No scope granted to the agent allows this."),
  CONDITION_FALSE: forbidden("The scope allows this only under a condition that does not hold."),
  CONDITION_UNEVALUABLE: forbidden("The scope's condition cannot be evaluated for this."),
  LIMIT_SPENT: spent("What the grant allows of this is spent."),
  CALLER_UNIDENTIFIED: unidentified("The caller did not show that it is the agent."),
  REQUEST_NOT_NORMAL: ambiguous("The request can be read in more than one way."),
  AUTHORITY_MISMATCH: forbidden("The request names one host and is addressed to another."),
  TARGET_FORBIDDEN: forbidden("The target is an address that only a rule naming it reaches."),
  PROTOCOL_UNSUPPORTED: unsupported("The protocol is not one that can be judged."),
  FRAMING_INVALID: malformed("The bytes are not what the protocol prescribes."),
  MESSAGE_TOO_LARGE: tooLarge("A message is larger than the limit."),
  LEDGER_UNAVAILABLE: unavailable("Nothing can be recorded now, so nothing is done."),
  OVERLOADED: unavailable("Too many actions are open at once."),
  UPSTREAM_UNREACHABLE: unreachable("The target cannot be reached."),
  UPSTREAM_FAILED: brokenOff("The target broke off."),
  CLIENT_CANCELLED: cancelled("The agent broke off."),
  DEADLINE_EXCEEDED: late("The agent's deadline passed."),
  HANDOFF: unavailable("The sidecar is being replaced."),
  CRASHED: crashed("The sidecar ended before it knew how the action ended."),
  MANIFEST_RETIRED: forbidden("Operators have retired the agent's manifest."),
};
