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

const CANCELLED = 1;
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const UNIMPLEMENTED = 12;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;

const EXIT = { failed: 1, denied: 2, unreachable: 69, retry: 75, notPermitted: 77 } as const;

/** Authority was asked for and is not there: the same everywhere, whatever is missing. */
const forbidden = (sentence: string): Rendering => ({
  ...{ grpc: PERMISSION_DENIED, http: 403, mcp: "RESULT", exit: EXIT.denied },
  sentence,
});

const rendering = (
  grpc: number,
  http: number,
  mcp: "RESULT" | "ERROR",
  exit: number,
  sentence: string,
): Rendering => ({ grpc, http, mcp, exit, sentence });

/** The one table. docs/reasons.md is written from it. */
export const RENDERINGS: Readonly<Record<Reason, Rendering>> = {
  UNSPECIFIED: rendering(INTERNAL, 500, "ERROR", EXIT.failed, "No reason was given."),
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
  LIMIT_SPENT: rendering(
    ...([RESOURCE_EXHAUSTED, 429, "RESULT", EXIT.denied] as const),
    "What the grant allows of this is spent.",
  ),
  CALLER_UNIDENTIFIED: rendering(
    ...([UNAUTHENTICATED, 407, "ERROR", EXIT.notPermitted] as const),
    "The caller did not show that it is the agent.",
  ),
  REQUEST_NOT_NORMAL: rendering(
    ...([INVALID_ARGUMENT, 400, "ERROR", EXIT.denied] as const),
    "The request can be read in more than one way.",
  ),
  AUTHORITY_MISMATCH: forbidden("The request names one host and is addressed to another."),
  TARGET_FORBIDDEN: forbidden("The target is an address that is not reached by name."),
  PROTOCOL_UNSUPPORTED: rendering(
    ...([UNIMPLEMENTED, 501, "ERROR", EXIT.denied] as const),
    "The protocol is not one that can be judged.",
  ),
  FRAMING_INVALID: rendering(
    ...([INTERNAL, 400, "ERROR", EXIT.denied] as const),
    "The bytes are not what the protocol prescribes.",
  ),
  MESSAGE_TOO_LARGE: rendering(
    ...([RESOURCE_EXHAUSTED, 413, "ERROR", EXIT.denied] as const),
    "A message is larger than the limit.",
  ),
  LEDGER_UNAVAILABLE: rendering(
    ...([UNAVAILABLE, 503, "RESULT", EXIT.retry] as const),
    "Nothing can be recorded now, so nothing is done.",
  ),
  OVERLOADED: rendering(
    ...([UNAVAILABLE, 503, "RESULT", EXIT.retry] as const),
    "Too many actions are open at once.",
  ),
  UPSTREAM_UNREACHABLE: rendering(
    ...([UNAVAILABLE, 502, "RESULT", EXIT.unreachable] as const),
    "The target cannot be reached.",
  ),
  UPSTREAM_FAILED: rendering(
    ...([UNAVAILABLE, 502, "RESULT", EXIT.failed] as const),
    "The target broke off.",
  ),
  CLIENT_CANCELLED: rendering(
    ...([CANCELLED, 499, "ERROR", EXIT.failed] as const),
    "The agent broke off.",
  ),
  DEADLINE_EXCEEDED: rendering(
    ...([DEADLINE_EXCEEDED, 504, "RESULT", EXIT.failed] as const),
    "The agent's deadline passed.",
  ),
  HANDOFF: rendering(
    ...([UNAVAILABLE, 503, "RESULT", EXIT.retry] as const),
    "The sidecar is being replaced.",
  ),
  CRASHED: rendering(
    ...([INTERNAL, 500, "ERROR", EXIT.failed] as const),
    "The sidecar ended before it knew how the action ended.",
  ),
};
