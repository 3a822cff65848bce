import type { Reason } from "../../src/domain/reason.ts";

/** gRPC status code of each reason. */
export function grpcCode(reason: Reason): number {
  switch (reason) {
    case "LIMIT_SPENT":
    case "MESSAGE_TOO_LARGE":
      return 8;
    case "CALLER_UNIDENTIFIED":
      return 16;
    case "REQUEST_NOT_NORMAL":
    case "FRAMING_INVALID":
    case "CRASHED":
      return 13;
    case "PROTOCOL_UNSUPPORTED":
      return 12;
    case "LEDGER_UNAVAILABLE":
    case "OVERLOADED":
    case "UPSTREAM_UNREACHABLE":
    case "UPSTREAM_FAILED":
    case "HANDOFF":
      return 14;
    case "CLIENT_CANCELLED":
      return 1;
    case "DEADLINE_EXCEEDED":
      return 4;
    default:
      return 7;
  }
}

/** HTTP status of each reason. */
export function httpStatus(reason: Reason): number {
  switch (grpcCode(reason)) {
    case 16:
      return 407;
    case 8:
      return 429;
    case 14:
      return 503;
    case 13:
      return 400;
    default:
      return 403;
  }
}
