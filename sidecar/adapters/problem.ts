import { RENDERINGS } from "../../src/domain/reason.ts";
import type { Denial } from "./exchange.ts";

/** A refusal in the words of a protocol within HTTP. */
export interface OwnWords {
  readonly status: number;
  readonly type: string;
  readonly body: Buffer;
}

/**
 * A refusal for HTTP clients: RFC 9457 problem+json unless told otherwise, and the receipt in a header.
 *
 * @param status where HTTP knows a closer one than the reason's own: 431 for too much of a head.
 */
export function problem(
  denial: Denial,
  said: Partial<OwnWords> = {},
): { status: number; fields: string[]; body: Buffer } {
  const { status = RENDERINGS[denial.reason].http, type = "application/problem+json" } = said;
  const body = said.body ?? problemJson(denial, status);
  const fields = ["content-type", type, "content-length", String(body.length)];
  if (status === 407) fields.push("proxy-authenticate", 'Basic realm="dragons"');
  if (denial.receiptId !== "") fields.push("dragons-receipt", denial.receiptId);
  return { status, fields, body };
}

const problemJson = (denial: Denial, status: number): Buffer =>
  Buffer.from(
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
