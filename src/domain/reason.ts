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
