import { equal } from "../../src/domain/bytes.ts";
import type { Crypto } from "../../src/domain/crypto.ts";
import { LeaseBody } from "../../src/domain/lease.ts";
import { entriesPageMax } from "../../src/domain/limits.ts";
import { ReceiptHeader } from "../../src/domain/receipt.ts";
import { SignedBytes } from "../../src/domain/signed.ts";
import { refOf } from "../../src/domain/signing.ts";
import type { ExportRequest } from "../../src/gen/dragons/v1/evidence_pb.ts";
import { StatusError } from "../../src/wire/status.ts";
import type { LeaseLog } from "../identity/lease-log.ts";
import type { WorkLedger } from "../ledger/work-ledger.ts";

interface Kept {
  readonly crypto: Crypto;
  readonly ledger: Pick<WorkLedger, "head" | "headers">;
  readonly leases: Pick<LeaseLog, "entries">;
}
type Asked = Pick<ExportRequest, "leaseId" | "sinceUs" | "untilUs">;

/**
 * The range from the first receipt to the last that a lease or a time asks for: what lies between them is of
 * the chain, and goes along. null: neither is asked for.
 * @throws StatusError, NOT_FOUND, when there is no such lease, or no receipt of it.
 */
export async function coveringRange(
  { crypto, ledger, leases }: Kept,
  { leaseId, sinceUs, untilUs }: Asked,
): Promise<{ from: number; to: number } | null> {
  if (leaseId === "" && sinceUs === 0n && untilUs === 0n) return null;
  const lease = leases.entries().find((l) => LeaseBody.decode(l.body).leaseId === leaseId);
  const none = (detail: string) => new StatusError("NOT_FOUND", "NO_SUCH_OBJECT", detail);
  if (leaseId !== "" && lease === undefined)
    throw none(`lease_id: no lease ${leaseId} was held here`);
  const ref = lease && refOf(crypto, "lease", lease.body);
  const [since, until] = [Number(sinceUs), Number(untilUs) || Number.POSITIVE_INFINITY];
  let [from, to] = [0, 0];
  for (let seq = 1; seq <= ledger.head().size; seq += entriesPageMax) {
    for (const { signed } of ledger.headers(seq, entriesPageMax)) {
      const header = ReceiptHeader.decode(SignedBytes.decode(signed).body);
      const inTime = header.openedAtUs >= since && header.openedAtUs < until;
      if (!inTime || (ref !== undefined && !equal(header.leaseRef, ref))) continue;
      from ||= header.seq;
      to = header.seq;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (to === 0)
    throw none(
      "lease_id, since_us, until_us: no receipt was opened in that time, or under that lease",
    );
  return { from, to };
}
