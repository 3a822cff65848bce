import { AuditService } from "../../gen/dragons/v1/authority_pb.ts";
import { toWire } from "../../wire/artifacts.ts";
import type { Handlers } from "../../wire/rpc.ts";
import { operatorOf } from "../auth.ts";
import type { Fleet } from "../fleet.ts";
import { pageBySeq, pageOf, pageToken } from "./requests.ts";

export function auditService(fleet: Fleet): Handlers<typeof AuditService> {
  const { method } = AuditService;
  return {
    async listRecords(request, context) {
      const { tenant } = operatorOf(context);
      const { size, afterSeq } = pageOf(method.listRecords, request);
      const found = await tenant.records(afterSeq + 1, size);
      const page = pageBySeq(
        method.listRecords,
        request,
        found,
        (r) => r.seq,
        (r) => r.artifact.length,
      );
      const last = page.items.at(-1)?.seq ?? afterSeq;
      return {
        records: page.items.map(({ receipt, record, artifact }) => ({
          receipt: toWire(receipt),
          what: record.what,
          artifact,
          actor: record.actor,
          method: record.method,
          requestId: record.requestId,
        })),
        nextPageToken:
          last < tenant.controlHead().size ? pageToken(method.listRecords, { afterSeq: last }) : "",
      };
    },

    async getCheckpoint(_request, context) {
      const { tenant } = operatorOf(context);
      const { witnesses } = await fleet.of(tenant);
      const own = await tenant.controlNote();
      return {
        note: own?.note ?? "",
        witnessedNote: witnesses.note,
        genesis: toWire(tenant.controlGenesis.signed),
      };
    },
  };
}
