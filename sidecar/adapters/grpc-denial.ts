import { bytes, message, nested, repeated, str, u32 } from "../../src/domain/canonical.ts";
import { RENDERINGS } from "../../src/domain/reason.ts";
import type { Denial } from "./exchange.ts";

const UNAVAILABLE = 14;

/** google.rpc.Status and ErrorInfo, as every gRPC client library decodes them. */
const Any = message("any", { typeUrl: str(1), value: bytes(2) });
const RpcStatus = message("status", {
  code: u32(1),
  message: str(2),
  details: repeated(nested(3, Any)),
});
const Entry = message("entry", { key: str(1), value: str(2) });
const ErrorInfo = message("errorInfo", {
  reason: str(1),
  domain: str(2),
  metadata: repeated(nested(3, Entry)),
});

/**
 * A refusal in gRPC's words: `grpc-status`, `grpc-message`, google.rpc.ErrorInfo in
 * `grpc-status-details-bin`, and the receipt. Flat header list, for trailers or trailers-only.
 */
export function denialTrailers(denial: Denial): string[] {
  const code = RENDERINGS[denial.reason].grpc;
  const text = `${denial.reason}: ${denial.message}`;
  const metadata = [
    { key: "lease_id", value: denial.leaseId },
    { key: "receipt_id", value: denial.receiptId },
    { key: "remedy", value: denial.remedy },
    { key: "scope", value: denial.scope },
  ].filter((entry) => entry.value !== "");
  const info = ErrorInfo.encode({ reason: denial.reason, domain: "dragons.dev", metadata });
  const details = RpcStatus.encode({
    code,
    message: text,
    details: [{ typeUrl: "type.googleapis.com/google.rpc.ErrorInfo", value: info }],
  });
  const out = [
    "grpc-status",
    String(code),
    "grpc-message",
    percentEncode(text),
    "grpc-status-details-bin",
    Buffer.from(details).toString("base64").replace(/=+$/, ""),
  ];
  // Clients that retry what is unavailable are told not to: nothing changes within their backoff.
  if (code === UNAVAILABLE) out.push("grpc-retry-pushback-ms", "-1");
  if (denial.receiptId !== "") out.push("dragons-receipt", denial.receiptId);
  return out;
}

/** `grpc-message`: printable ASCII but `%` stands as it is, all other UTF-8 bytes as `%XX`. */
export function percentEncode(text: string): string {
  let out = "";
  for (const byte of Buffer.from(text, "utf8")) {
    out +=
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return out;
}
