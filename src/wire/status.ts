import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { anyPack, anyUnpack } from "@bufbuild/protobuf/wkt";
import type { Invalid, InvalidCode } from "../domain/invalid.ts";
import type { Reason } from "../domain/reason.ts";
import { ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.ts";
import { StatusSchema } from "../gen/google/rpc/status_pb.ts";

/** gRPC's status codes; the index is the wire value. */
export const STATUS_CODES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;
export type StatusCode = (typeof STATUS_CODES)[number];

/** Refusals of the API itself, beside the reasons of the gate and the codes of artifacts. */
export type ApiReason =
  | "ARGUMENT_INVALID"
  | "CREDENTIAL_INVALID"
  | "ROLE_INSUFFICIENT"
  | "NO_SUCH_OBJECT"
  | "ALREADY_RECORDED"
  | "REQUEST_ID_REUSED"
  | "CONFLICT"
  | "EPOCH_TAKEN"
  | "QUOTA_REACHED"
  | "TOKEN_EXPIRED"
  | "READER_TOO_SLOW"
  | "TOO_MANY_CALLS"
  | "CLOCK_SKEW"
  | "SESSION_UNKNOWN"
  | "SESSION_SUPERSEDED"
  | "FORK"
  | "REGRESS"
  | "FORK_NOT_RELEASABLE"
  | "STATE_UNFIT"
  | "SHUTTING_DOWN"
  | "INTERNAL";

const DOMAIN = "dragons.dev";

/** The trailer that carries google.rpc.Status. */
export const STATUS_DETAILS = "grpc-status-details-bin";

/**
 * A call that ends otherwise than well: a status code for any gRPC client, a reason from a closed
 * list for machines, a sentence for people. Thrown by handlers, and by clients for what they got.
 */
export class StatusError extends Error {
  override readonly name = "StatusError";
  readonly code: StatusCode;
  /** Empty: the other side gave none; a proxy between, or the network, spoke. */
  readonly reason: string;
  /** What it is about: `receipt_id`, `lease_id`, `scope`, `resume_token`, … */
  readonly metadata: Readonly<Record<string, string>>;

  constructor(
    code: Exclude<StatusCode, "OK">,
    reason: Reason | ApiReason | InvalidCode | "",
    message: string,
    metadata: Readonly<Record<string, string>> = {},
  ) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.metadata = metadata;
  }
}

/** Serialized google.rpc.Status with one ErrorInfo, for the trailer STATUS_DETAILS. */
export function encodeStatus(error: StatusError): Uint8Array {
  const { reason, metadata } = error;
  const info = create(ErrorInfoSchema, { reason, domain: DOMAIN, metadata: { ...metadata } });
  return toBinary(
    StatusSchema,
    create(StatusSchema, {
      code: STATUS_CODES.indexOf(error.code),
      message: error.message,
      details: [anyPack(ErrorInfoSchema, info)],
    }),
  );
}

/** What a client was told. `details` as in the trailer; the code there must agree with the call's. */
export function decodeStatus(
  code: number,
  message: string,
  details: Uint8Array | null,
): StatusError {
  const told = STATUS_CODES[code];
  const name = told === undefined || told === "OK" ? "UNKNOWN" : told;
  const info = details === null ? null : errorInfo(code, details);
  // The list is closed for us who speak; a newer server may know a reason more.
  const reason = (info?.reason ?? "") as ApiReason;
  return new StatusError(name, reason, message, info?.metadata);
}

function errorInfo(code: number, details: Uint8Array) {
  try {
    const status = fromBinary(StatusSchema, details);
    if (status.code !== code) return null;
    for (const any of status.details) {
      const info = anyUnpack(any, ErrorInfoSchema);
      if (info?.domain === DOMAIN) return info;
    }
    return null;
  } catch {
    // Details are an extra: what cannot be read is as if it had not been sent.
    return null;
  }
}

/** An artifact that is not to be believed, as the answer to whoever sent it. */
export function refusal(found: Invalid): StatusError {
  return new StatusError(
    INVALID_STATUS[found.code] ?? "INVALID_ARGUMENT",
    found.code,
    found.detail,
  );
}

const INVALID_STATUS: Partial<Record<InvalidCode, Exclude<StatusCode, "OK">>> = {
  E_KEY_WEAK: "PERMISSION_DENIED",
  E_KEY_NONCANONICAL: "PERMISSION_DENIED",
  E_KEY_UNKNOWN: "PERMISSION_DENIED",
  E_KEY_EXPIRED: "PERMISSION_DENIED",
  E_KEY_COMPROMISED: "PERMISSION_DENIED",
  E_SIGNATURE: "PERMISSION_DENIED",
  E_THRESHOLD: "PERMISSION_DENIED",
  E_WIDENED: "PERMISSION_DENIED",
  E_ROLLBACK: "ABORTED",
  E_REF: "FAILED_PRECONDITION",
  E_NOT_YET_VALID: "FAILED_PRECONDITION",
  E_EXPIRED: "FAILED_PRECONDITION",
  E_MANIFEST: "FAILED_PRECONDITION",
  E_REVOKED: "FAILED_PRECONDITION",
};

/** To streams that would live for ever, when the server ends. */
export const shuttingDown = (): StatusError =>
  new StatusError("UNAVAILABLE", "SHUTTING_DOWN", "the control plane ends; come back");
