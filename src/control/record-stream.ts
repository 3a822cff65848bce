import type { MessageInitShape } from "@bufbuild/protobuf";
import { BlockTree } from "../domain/block-tree.ts";
import { leafHash } from "../domain/chain.ts";
import type { Crypto } from "../domain/crypto.ts";
import { recordsAtOnce, recordsChunkBytes } from "../domain/limits.ts";
import { PayloadRow } from "../domain/payload.ts";
import { RecordRow } from "../domain/record.ts";
import type {
  ExportRecordsResponseSchema,
  SealedRecordSchema,
} from "../gen/dragons/v1/authority_pb.ts";
import { toWire } from "../wire/artifacts.ts";
import { LEDGER_LOG, type Tenant } from "./tenant.ts";

/** The tree of a tenant's ledger, whose leaves are read from the store when a proof passes through them. */
export const treeOf = (crypto: Crypto, tenant: Tenant): BlockTree =>
  new BlockTree(crypto, async (from, count) => {
    const rows = await tenant.read(LEDGER_LOG, from + 1, count);
    if (rows.length !== count)
      throw new Error(`the tenant ledger has no records ${from + 1} to ${from + count}`);
    return rows.map(({ value }) => leafHash(crypto, RecordRow.decode(value).receipt.body));
  });

type Answer = MessageInitShape<typeof ExportRecordsResponseSchema>;
type Sealed = MessageInitShape<typeof SealedRecordSchema>;

/** Which records: 1 ≤ `from` ≤ `to` ≤ the durable head. */
export interface RecordRange {
  readonly from: number;
  readonly to: number;
}

/**
 * Records of a tenant's ledger, each with what opens it, behind all that proves where they stand. A few are
 * in memory at a time, and no more are read before those are taken.
 */
export async function* recordStream(
  { tenant, tree }: { readonly tenant: Tenant; readonly tree: BlockTree },
  witnessedNote: string,
  { from, to }: RecordRange,
): AsyncGenerator<Answer> {
  const own = await tenant.controlNote();
  const { size } = own?.head ?? tenant.controlHead();
  const [last] = from === 1 ? [] : await tree.leaves(from - 2, 1);
  yield {
    head: {
      genesis: toWire(tenant.controlGenesis.signed),
      keyset: toWire(tenant.keyset().signed),
      note: own?.note ?? "",
      witnessedNote,
      fromSeq: BigInt(from),
      size: BigInt(size),
      frontier: from === 1 ? [] : await tree.frontier(from - 2),
      ...(last && { lastHash: last }),
    },
  };
  let records: Sealed[] = [];
  let bytes = 0;
  for (let next = from; next <= to; next += recordsAtOnce) {
    const rows = await tenant.read(LEDGER_LOG, next, Math.min(recordsAtOnce, to - next + 1));
    for (const { seq, value } of rows) {
      const { receipt, payload } = RecordRow.decode(value);
      records.push({
        seq: BigInt(seq),
        receipt: toWire(receipt),
        payload: PayloadRow.encode(payload),
      });
      bytes += value.length;
      if (bytes < recordsChunkBytes) continue;
      yield { records };
      records = [];
      bytes = 0;
    }
  }
  if (records.length > 0) yield { records };
}
