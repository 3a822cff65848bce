import { commitment, type IntentLink } from "../../src/domain/chain.ts";
import type { Crypto } from "../../src/domain/crypto.ts";
import { IntentBody } from "../../src/domain/intent.ts";
import type { IntentRow } from "../../src/storage/ledger-store.ts";
import type { OpenIntent } from "./work-ledger.ts";

const CLAIM_FIELD = 5;

/** A promise of one action, from its opening until its receipt is chained. */
export class Intent implements OpenIntent {
  readonly body: IntentBody;
  /** c_5: fixed here, for the intent chain and the receipt alike. */
  readonly claimCommitment: Uint8Array;
  /** What is spent is counted under it; null: reopened after a crash, when that was counted already. */
  readonly grantRef: Uint8Array | null;
  /** When it was opened, or found open after a crash, by the clock that stands still while the machine sleeps. */
  readonly openedMonotonicUs: number;
  /** It lasts for as long as either side likes, and nobody waits for its end. */
  readonly listens: boolean;
  /** Its caller was refused before it became durable. */
  abandoned = false;
  reservedBytes: number;

  constructor(
    crypto: Crypto,
    ledgerId: Uint8Array,
    body: IntentBody,
    opened: { grantRef: Uint8Array | null; monotonicUs: number; listens: boolean },
  ) {
    this.body = body;
    this.grantRef = opened.grantRef;
    this.openedMonotonicUs = opened.monotonicUs;
    this.listens = opened.listens;
    this.reservedBytes = body.reservedBytes;
    this.claimCommitment = commitment(crypto, {
      field: CLAIM_FIELD,
      ledgerId,
      intentSeq: body.intentSeq,
      receiptId: body.receiptId,
      salt: body.claimSalt,
      data: body.claim,
    });
  }

  /** As it is stored. */
  row(): IntentRow {
    const { body, reservedBytes } = this;
    return { intentSeq: body.intentSeq, body: IntentBody.encode({ ...body, reservedBytes }) };
  }

  link(): IntentLink {
    const { receiptId, leaseRef, openedAtUs } = this.body;
    return { receiptId, leaseRef, openedAtUs, claimCommitment: this.claimCommitment };
  }

  get receiptId(): string {
    return this.body.receiptId;
  }

  get intentSeq(): number {
    return this.body.intentSeq;
  }

  get openedAtUs(): number {
    return this.body.openedAtUs;
  }
}
