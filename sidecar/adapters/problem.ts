import { RENDERINGS } from "../../src/domain/reason.ts";
import type { Denial } from "./exchange.ts";

/**
 * A refusal for HTTP clients: RFC 9457 problem+json, and the receipt in a header.
 *
 * @param status where HTTP knows a closer one than the reason's own: 431 for too much of a head.
 */
export function problem(
  denial: Denial,
  status: number = RENDERINGS[denial.reason].http,
): { status: number; fields: string[]; body: Buffer } {
  const body = Buffer.from(
    JSON.stringify({
      type: `https://dragons.dev/reasons#${denial.reason}`,
      title: denial.reason,
      status,
      detail: denial.message,
      ...(denial.receiptId === "" ? {} : { receipt_id: denial.receiptId }),
      ...(denial.leaseId === "" ? {} : { lease_id: denial.leaseId }),
      ...(denial.scope === "" ? {} : { scope: denial.scope }),
      ...(denial.remedy === "" ? {} : { remedy: denial.remedy }),
    }),
  );
  const fields = [
    "content-type",
    "application/problem+json",
    "content-length",
    String(body.length),
  ];
  if (status === 407) fields.push("proxy-authenticate", 'Basic realm="dragons"');
  if (denial.receiptId !== "") fields.push("dragons-receipt", denial.receiptId);
  return { status, fields, body };
}
