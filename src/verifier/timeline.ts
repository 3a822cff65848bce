import { toHex } from "../domain/bytes.ts";
import type { Decision } from "./decision.ts";
import type { Proven } from "./receipts.ts";

/** One proven receipt as a line of JSON: fields are only ever added under this format. */
export interface TimelineEntry {
  readonly format: "dragons timeline 0";
  readonly ledger: string;
  readonly seq: number;
  readonly receiptId: string;
  readonly kind: string;
  readonly verdict: string;
  readonly reason: string;
  readonly scope: string;
  /** How many identical denials it stands for. */
  readonly count: number;
  /** Microseconds since the epoch, by the sidecar's clock. */
  readonly openedAtUs: number;
  readonly closedAtUs: number;
  /** 0: nothing was forwarded. */
  readonly egressLastUs: number;
  /** ref(lease), hex; empty: none was held. */
  readonly lease: string;
  /** null: withheld, or there was none. */
  readonly target: string | null;
  readonly path: string | null;
  readonly goal: string | null;
  readonly outcome: string | null;
  readonly decision: Decision;
  /** H, hex. */
  readonly hash: string;
}

/** For `onReceipt` of `verify`: writes what was proven about one receipt. */
export function timelineEntry(ledger: string, proven: Proven): TimelineEntry {
  const { header, hash, contents, decision } = proven;
  const { claim, goal, outcome } = contents;
  return {
    format: "dragons timeline 0",
    ledger,
    seq: header.seq,
    receiptId: header.receiptId,
    kind: header.kind,
    verdict: header.verdict,
    reason: header.reason,
    scope: header.scope,
    count: header.count,
    openedAtUs: header.openedAtUs,
    closedAtUs: header.closedAtUs,
    egressLastUs: header.egressLastUs,
    lease: toHex(header.leaseRef),
    target: claim?.target ?? null,
    path: claim?.path ?? null,
    goal: goal === null ? null : goal.goal || goal.purpose,
    outcome: outcome?.status ?? null,
    decision,
    hash: toHex(hash),
  };
}
