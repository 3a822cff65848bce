import type { ChainState } from "../../src/domain/chain.ts";
import { SignedBytes } from "../../src/domain/signed.ts";
import type { IntentRow, LedgerState, LedgerStep } from "../../src/storage/ledger-store.ts";
import type { Intent } from "./intent.ts";
import type { Receipt } from "./receipt-maker.ts";
import type { LedgerUnavailable, OpenIntent } from "./work-ledger.ts";

/** An intent whose caller waits until it is durable. */
export interface Waiting {
  readonly intent: Intent;
  readonly row: IntentRow;
  readonly resolve: (intent: OpenIntent) => void;
  readonly reject: (reason: LedgerUnavailable) => void;
}

/** A receipt that waits to be written. */
export interface SignedReceipt {
  readonly receipt: Receipt;
  /** Encoded SignedBytes. */
  readonly signed: Uint8Array;
}

export const withSignatures = (
  receipts: readonly Receipt[],
  key: Uint8Array,
  signatures: readonly Uint8Array[],
): SignedReceipt[] =>
  receipts.map((receipt, i) => {
    const value = signatures[i] as Uint8Array;
    return {
      receipt,
      signed: SignedBytes.encode({ body: receipt.body, signatures: [{ key, value }] }),
    };
  });

/** One step's intents (new, and with more bytes reserved) and receipts, as the store takes them. */
export const rowsOf = (
  opened: readonly Waiting[],
  signed: readonly SignedReceipt[],
  reserving: Iterable<Intent>,
): Pick<LedgerStep, "opened" | "receipts"> => ({
  opened: [...opened.map(({ row }) => row), ...Array.from(reserving, (intent) => intent.row())],
  receipts: signed.map(({ receipt, signed: bytes }) => ({
    seq: receipt.header.seq,
    signed: bytes,
    row: receipt.payload,
    closes: receipt.header.intentSeq,
    rewrites: receipt.rewrites,
  })),
});

/** Where that step leaves the ledger. */
export const stateOf = (
  after: ChainState,
  lastId: string,
  acknowledgedSeq: number,
): LedgerState => ({
  version: 1,
  ledgerId: after.ledgerId,
  tenantId: after.tenantId,
  size: after.size,
  lastHash: after.lastHash,
  frontier: [...after.frontier],
  intentsOpened: after.intentsOpened,
  intentsHead: after.intentsHead,
  lastId,
  acknowledgedSeq,
});
