import { utf8 } from "./bytes.ts";
import type { Crypto } from "./crypto.ts";
import { Frontier, type TreeHead } from "./merkle.ts";
import { PAYLOAD_FIELDS } from "./payload.ts";
import { Preimage } from "./preimage.ts";
import { ReceiptHeader } from "./receipt.ts";
import { paeHead } from "./signed.ts";

/** Version of every receipt header written. */
const RECEIPT_VERSION = 1;

const LEAF = 0;
const INTENT = 2;
const FIELD = utf8("dragons/v1/field\n");
const PAYLOAD = utf8("dragons/v1/payload\n");

/** Each hash is begun and done within one call. */
const preimage = new Preimage();

/**
 * H of a receipt: `SHA256(0x00 ‖ PAE("receipt", body))`. At once its leaf hash in the tree and the
 * prev_hash of the receipt after it, so that chain and tree cannot disagree.
 */
export const leafHash = (crypto: Crypto, receiptBody: Uint8Array): Uint8Array =>
  crypto.sha256(
    preimage
      .begin()
      .byte(LEAF)
      .bytes(paeHead("receipt", receiptBody.length))
      .bytes(receiptBody)
      .done(),
  );

export interface Committed {
  /** 1 to 5, as in PAYLOAD_FIELDS. */
  readonly field: number;
  readonly ledgerId: Uint8Array;
  /** 0: the receipt closes no intent. */
  readonly intentSeq: number;
  readonly receiptId: string;
  /** 32 random bytes of this field alone. */
  readonly salt: Uint8Array;
  readonly data: Uint8Array;
}

/**
 * c_f: `SHA256("dragons/v1/field\n" ‖ u8 f ‖ ledger_id ‖ u64be intent_seq ‖ receipt_id ‖ salt ‖ data)`.
 * Everything before the data is of fixed length, so nothing can move from one part to the next.
 */
export function commitment(crypto: Crypto, of: Committed): Uint8Array {
  if (!(of.field >= 1 && of.field <= PAYLOAD_FIELDS.length)) throw new RangeError("no such field");
  if (of.ledgerId.length !== 32 || of.salt.length !== 32) throw new RangeError("must be 32 bytes");
  return crypto.sha256(
    preimage
      .begin()
      .bytes(FIELD)
      .byte(of.field)
      .bytes(of.ledgerId)
      .u64be(of.intentSeq)
      .ascii(of.receiptId)
      .bytes(of.salt)
      .bytes(of.data)
      .done(),
  );
}

/** `SHA256("dragons/v1/payload\n" ‖ c_1 ‖ … ‖ c_5)` */
export function payloadHash(crypto: Crypto, commitments: readonly Uint8Array[]): Uint8Array {
  if (commitments.length !== PAYLOAD_FIELDS.length) throw new RangeError("wants five commitments");
  preimage.begin().bytes(PAYLOAD);
  for (const c of commitments) preimage.bytes(c);
  return crypto.sha256(preimage.done());
}

export interface IntentLink {
  readonly receiptId: string;
  readonly leaseRef: Uint8Array;
  readonly openedAtUs: number;
  /** c_5 of the receipt to come. */
  readonly claimCommitment: Uint8Array;
}

/** I_k: `SHA256(0x02 ‖ I_{k−1} ‖ receipt_id ‖ lease_ref ‖ u64be opened_at_us ‖ c_5)` */
export const nextIntentsHead = (crypto: Crypto, head: Uint8Array, link: IntentLink): Uint8Array =>
  crypto.sha256(
    preimage
      .begin()
      .byte(INTENT)
      .bytes(head)
      .ascii(link.receiptId)
      .bytes(link.leaseRef)
      .u64be(link.openedAtUs)
      .bytes(link.claimCommitment)
      .done(),
  );

/** All there is to store of a chain in order to continue it. */
export interface ChainState {
  readonly ledgerId: Uint8Array;
  readonly tenantId: string;
  readonly size: number;
  /** H of the last receipt; the ledger_id before the first. */
  readonly lastHash: Uint8Array;
  /** Frontier nodes, largest subtree first. */
  readonly frontier: readonly Uint8Array[];
  readonly intentsOpened: number;
  /** I at intentsOpened; the ledger_id before the first. */
  readonly intentsHead: Uint8Array;
}

/** What a ledger can show of itself at one moment. */
export interface Head extends TreeHead {
  readonly intentsOpened: number;
  readonly intentsHead: Uint8Array;
}

/** A receipt before it has its place in the chain. */
export type ReceiptDraft = Omit<
  ReceiptHeader,
  "version" | "tenantId" | "ledgerId" | "seq" | "prevHash" | "intentsOpened" | "intentsHead"
>;

export interface Appended {
  readonly header: ReceiptHeader;
  readonly body: Uint8Array;
  /** H */
  readonly hash: Uint8Array;
}

export const newChainState = (ledgerId: Uint8Array, tenantId: string): ChainState => ({
  ledgerId,
  tenantId,
  size: 0,
  lastHash: ledgerId,
  frontier: [],
  intentsOpened: 0,
  intentsHead: ledgerId,
});

/**
 * The end of one ledger, in memory: gives each receipt its place, in closing order, and each intent
 * its number, in opening order. Durability is the caller's; after a failed write the chain must be
 * thrown away and built again from what was stored.
 */
export class Chain {
  readonly ledgerId: Uint8Array;
  readonly tenantId: string;
  readonly #crypto: Crypto;
  readonly #frontier: Frontier;
  #lastHash: Uint8Array;
  #intentsOpened: number;
  #intentsHead: Uint8Array;

  constructor(crypto: Crypto, state: ChainState) {
    this.#crypto = crypto;
    this.ledgerId = state.ledgerId;
    this.tenantId = state.tenantId;
    this.#frontier = new Frontier(crypto, state.size, state.frontier);
    this.#lastHash = state.lastHash;
    this.#intentsOpened = state.intentsOpened;
    this.#intentsHead = state.intentsHead;
  }

  get size(): number {
    return this.#frontier.size;
  }

  /** The intent_seq that `openIntent` gives next: commitments of the intent are made over it. */
  get nextIntentSeq(): number {
    return this.#intentsOpened + 1;
  }

  /** Returns the intent's intent_seq. */
  openIntent(link: IntentLink): number {
    this.#intentsHead = nextIntentsHead(this.#crypto, this.#intentsHead, link);
    this.#intentsOpened += 1;
    return this.#intentsOpened;
  }

  append(draft: ReceiptDraft): Appended {
    const header: ReceiptHeader = {
      version: RECEIPT_VERSION,
      receiptId: draft.receiptId,
      tenantId: this.tenantId,
      ledgerId: this.ledgerId,
      seq: this.size + 1,
      prevHash: this.#lastHash,
      manifestHash: draft.manifestHash,
      leaseRef: draft.leaseRef,
      kind: draft.kind,
      verdict: draft.verdict,
      reason: draft.reason,
      scope: draft.scope,
      openedAtUs: draft.openedAtUs,
      closedAtUs: draft.closedAtUs,
      egressLastUs: draft.egressLastUs,
      intentSeq: draft.intentSeq,
      intentsOpened: this.#intentsOpened,
      intentsHead: this.#intentsHead,
      count: draft.count,
      payloadHash: draft.payloadHash,
      refersTo: draft.refersTo,
      redactedMask: draft.redactedMask,
      wouldDeny: draft.wouldDeny,
      spentBytes: draft.spentBytes,
    };
    const body = ReceiptHeader.encode(header);
    const hash = leafHash(this.#crypto, body);
    this.#frontier.append(hash);
    this.#lastHash = hash;
    return { header, body, hash };
  }

  head(): Head {
    return {
      size: this.size,
      root: this.#frontier.root(),
      intentsOpened: this.#intentsOpened,
      intentsHead: this.#intentsHead,
    };
  }

  state(): ChainState {
    return {
      ledgerId: this.ledgerId,
      tenantId: this.tenantId,
      size: this.size,
      lastHash: this.#lastHash,
      frontier: this.#frontier.nodes(),
      intentsOpened: this.#intentsOpened,
      intentsHead: this.#intentsHead,
    };
  }
}
