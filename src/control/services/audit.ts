import { AuditService } from "../../gen/dragons/v1/authority_pb.ts";
import { toWire } from "../../wire/artifacts.ts";
import type { Handlers } from "../../wire/rpc.ts";
import { operatorOf } from "../auth.ts";
import { pageOf, pageToken } from "./requests.ts";

export function auditService(): Handlers<typeof AuditService> {
  const { method } = AuditService;
  return {
    async listRecords(request, context) {
      const { tenant } = operatorOf(context);
      const { size, afterSeq } = pageOf(method.listRecords, request);
      const found = await tenant.records(afterSeq + 1, size);
      const last = found.at(-1)?.seq ?? 0;
      return {
        records: found.map(({ receipt, record, artifact }) => ({
          receipt: toWire(receipt),
          what: record.what,
          artifact,
          actor: record.actor,
        })),
        nextPageToken:
          found.length === size && last < tenant.controlHead().size
            ? pageToken(method.listRecords, { afterSeq: last })
            : "",
      };
    },
  };
}
