import { type Chain, type ChainState, commitment, payloadHash } from "../../src/domain/chain.ts";
import type { Crypto } from "../../src/domain/crypto.ts";
import { PayloadRow } from "../../src/domain/payload.ts";
import type { ReceiptHeader } from "../../src/domain/receipt.ts";
import type { Rewritten } from "../../src/storage/ledger-store.ts";

/** A receipt on its way: chained here, then signed, then durable. */
export interface Receipt {
  readonly header: ReceiptHeader;
  readonly body: Uint8Array;
  /** Encoded PayloadRow. */
  readonly payload: Uint8Array;
  /** What it leaves of an earlier receipt's payload; null: it redacts nothing. */
  readonly rewrites: Rewritten | null;
  /** The chain with this receipt as its last. */
  readonly after: ChainState;
}

/** What a receipt says, before it has its place in the chain. */
export type ReceiptFacts = Pick<
  ReceiptHeader,
  | "receiptId"
  | "kind"
  | "verdict"
  | "reason"
  | "scope"
  | "leaseRef"
  | "manifestHash"
  | "openedAtUs"
  | "closedAtUs"
  | "egressLastUs"
  | "intentSeq"
  | "count"
  | "wouldDeny"
  | "spentBytes"
> & {
  readonly goal: Uint8Array;
  readonly goalSalt: Uint8Array;
  readonly action: Uint8Array;
  readonly evidence: Uint8Array;
  readonly outcome: Uint8Array;
  readonly claim: Uint8Array;
  readonly claimSalt: Uint8Array;
  /** c_5 where the intent fixed it already; null: to be made. */
  readonly claimCommitment: Uint8Array | null;
  /** The earlier receipt that it speaks of; null: none. */
  readonly refers: Reference | null;
};

export interface Reference {
  /** H of that receipt. */
  readonly hash: Uint8Array;
  /** Bit f−1: field f is redacted. 0: it corrects. */
  readonly mask: number;
  readonly rewrites: Rewritten | null;
}

const NO_HASH = new Uint8Array(0);

/**
 * Commits to the five fields and gives the receipt its place. What is absent is committed to as
 * salted empty data, so that a commitment never tells whether there was anything.
 */
export function makeReceipt(
  crypto: Crypto,
  chain: Chain,
  salt: () => Uint8Array,
  facts: ReceiptFacts,
): Receipt {
  const { ledgerId } = chain;
  const { intentSeq, receiptId } = facts;
  const openings = [
    { field: 1, salt: facts.goalSalt, data: facts.goal },
    { field: 2, salt: salt(), data: facts.action },
    { field: 3, salt: salt(), data: facts.evidence },
    { field: 4, salt: salt(), data: facts.outcome },
    { field: 5, salt: facts.claimSalt, data: facts.claim },
  ];
  const commitments = openings.map((opening) =>
    opening.field === 5 && facts.claimCommitment !== null
      ? facts.claimCommitment
      : commitment(crypto, { ...opening, ledgerId, intentSeq, receiptId }),
  );
  const payload = PayloadRow.encode({ commitments, openings });
  const { header, body } = chain.append({
    receiptId,
    manifestHash: facts.manifestHash,
    leaseRef: facts.leaseRef,
    kind: facts.kind,
    verdict: facts.verdict,
    reason: facts.reason,
    scope: facts.scope,
    openedAtUs: facts.openedAtUs,
    closedAtUs: facts.closedAtUs,
    egressLastUs: facts.egressLastUs,
    intentSeq,
    count: facts.count,
    payloadHash: payloadHash(crypto, commitments),
    refersTo: facts.refers?.hash ?? NO_HASH,
    redactedMask: facts.refers?.mask ?? 0,
    wouldDeny: facts.wouldDeny,
    spentBytes: facts.spentBytes,
  });
  return { header, body, payload, rewrites: facts.refers?.rewrites ?? null, after: chain.state() };
}
