import { AuditService, type ExportRecordsRequest } from "../../gen/dragons/v1/authority_pb.ts";
import { toWire } from "../../wire/artifacts.ts";
import type { Handlers } from "../../wire/rpc.ts";
import { StatusError } from "../../wire/status.ts";
import { operatorOf } from "../auth.ts";
import type { Fleet } from "../fleet.ts";
import { type RecordRange, recordStream } from "../record-stream.ts";
import type { Tenant } from "../tenant.ts";
import { badArgument, exactBytes, notFound, pageBySeq, pageOf, pageToken } from "./requests.ts";

/** @throws StatusError where it names what is not there. */
function rangeOf(tenant: Tenant, asked: ExportRecordsRequest): RecordRange {
  const size = tenant.durableSize;
  let from = Number(asked.fromSeq) || 1;
  if (asked.ledgerId.length > 0) {
    if (asked.fromSeq > 0n) throw badArgument("ledger_id", "stands in place of from_seq");
    const ledger = tenant.ledger(exactBytes(asked.ledgerId, "ledger_id"));
    if (ledger === null) throw notFound("ledger");
    from = ledger.seq;
  }
  const to = Number(asked.toSeq) || size;
  if (from <= to && to <= size) return { from, to };
  throw new StatusError(
    "OUT_OF_RANGE",
    "ARGUMENT_INVALID",
    `from_seq, to_seq: ${from} to ${to} is not within 1 to ${size}, the records that there are`,
  );
}

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
          last < tenant.durableSize ? pageToken(method.listRecords, { afterSeq: last }) : "",
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

    async *exportRecords(request, context) {
      const { tenant } = operatorOf(context);
      const { witnesses, tree } = await fleet.of(tenant);
      // A lease may have been told ahead of its record: what was told is to stand in there.
      await tenant.settled();
      const range = rangeOf(tenant, request);
      yield* recordStream({ tenant, tree }, witnesses.note, range);
    },
  };
}
