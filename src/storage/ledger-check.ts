import { equal, toHex } from "../domain/bytes.ts";
import { CodecError } from "../domain/canonical.ts";
import { type ChainState, commitment, leafHash, payloadHash } from "../domain/chain.ts";
import type { Crypto } from "../domain/crypto.ts";
import { isInvalid } from "../domain/invalid.ts";
import { Frontier } from "../domain/merkle.ts";
import { PayloadRow } from "../domain/payload.ts";
import { RECEIPT, type ReceiptHeader } from "../domain/receipt.ts";
import { decodeSigned, openSigned } from "../domain/signing.ts";
import type { LedgerStore, ReceiptRow } from "./ledger-store.ts";

/** Where a stored ledger stops being what its key signed. */
export interface Broken {
  /** The first receipt that does not hold; 0: the ledger's state row. */
  readonly seq: number;
  readonly detail: string;
}

export interface Identity {
  readonly ledgerId: Uint8Array;
  readonly ledgerKey: Uint8Array;
}

/** Receipts read at a time: some 700 KB. */
const PAGE = 500;

/**
 * Verifies what is stored from receipt `fromSeq` to the end: encodings, signatures, links, payload
 * commitments and their openings, and that the chain ends where the state row says. From 1, also
 * that the tree is the one in the state row. null: it holds.
 * It trusts the link of receipt `fromSeq` to the one before, unless that is 1.
 */
export function checkLedger(
  crypto: Crypto,
  store: LedgerStore,
  { ledgerId, ledgerKey }: Identity,
  fromSeq: number,
): Broken | null {
  const state = store.state();
  if (state === null) {
    return store.receipts(1, 1).length === 0 ? null : broken(0, "there are receipts but no state");
  }
  if (!equal(state.ledgerId, ledgerId)) {
    return broken(0, `the store holds ledger ${toHex(state.ledgerId)}`);
  }
  const tree = fromSeq === 1 ? new Frontier(crypto) : null;
  let prevHash = fromSeq === 1 ? ledgerId : null;
  let seq = fromSeq;
  for (;;) {
    const page = store.receipts(seq, PAGE);
    for (const row of page) {
      if (row.seq !== seq) return broken(seq, `missing; the next is ${row.seq}`);
      const header = checkReceipt(crypto, row, ledgerKey);
      if (typeof header === "string") return broken(seq, header);
      const { body } = decodeSigned(row.signed) as { body: Uint8Array };
      if (header.seq !== seq) return broken(seq, `says that it is receipt ${header.seq}`);
      if (!equal(header.ledgerId, ledgerId)) return broken(seq, "belongs to another ledger");
      if (header.tenantId !== state.tenantId) return broken(seq, "belongs to another tenant");
      if (prevHash !== null && !equal(header.prevHash, prevHash)) {
        return broken(seq, "does not follow the receipt before it");
      }
      const commitments = checkPayload(crypto, row.row, header);
      if (commitments !== null) return broken(seq, commitments);
      prevHash = leafHash(crypto, body);
      tree?.append(prevHash);
      seq += 1;
    }
    if (page.length < PAGE) break;
  }
  if (seq - 1 !== state.size) return broken(seq, `missing; there should be ${state.size}`);
  return checkEnd(state, prevHash, tree);
}

/** The last `count` receipts. */
export const tailFrom = (size: number, count: number): number => Math.max(1, size - count + 1);

function checkReceipt(crypto: Crypto, row: ReceiptRow, key: Uint8Array): ReceiptHeader | string {
  const signed = decodeSigned(row.signed);
  if (isInvalid(signed)) return signed.detail;
  const opened = openSigned(crypto, RECEIPT, signed);
  if (isInvalid(opened)) return opened.detail;
  const [signer, ...others] = opened.signers;
  if (signer === undefined || others.length > 0 || !equal(signer, key)) {
    return "is not signed by the ledger key";
  }
  return opened.body;
}

function checkPayload(crypto: Crypto, row: Uint8Array, header: ReceiptHeader): string | null {
  let payload: PayloadRow;
  try {
    payload = PayloadRow.decode(row);
  } catch (error) {
    if (error instanceof CodecError) return error.message;
    throw error;
  }
  const { commitments, openings } = payload;
  if (commitments.length !== 5) return `has ${commitments.length} commitments`;
  if (!equal(payloadHash(crypto, commitments), header.payloadHash)) {
    return "its commitments are not those that were signed";
  }
  const { ledgerId, intentSeq, receiptId } = header;
  for (const { field, salt, data } of openings) {
    const committed = commitments[field - 1];
    if (committed === undefined || salt.length !== 32) return `has a malformed opening ${field}`;
    const made = commitment(crypto, { field, ledgerId, intentSeq, receiptId, salt, data });
    if (!equal(made, committed)) return `its field ${field} is not what was committed to`;
  }
  return null;
}

function checkEnd(
  state: Pick<ChainState, "ledgerId" | "lastHash" | "frontier">,
  lastHash: Uint8Array | null,
  tree: Frontier | null,
): Broken | null {
  if (lastHash !== null && !equal(lastHash, state.lastHash)) {
    return broken(0, "the state row names another last receipt");
  }
  if (tree === null) return null;
  const nodes = tree.nodes();
  const same =
    nodes.length === state.frontier.length &&
    nodes.every((node, i) => equal(node, state.frontier[i] as Uint8Array));
  return same ? null : broken(0, "the state row names another tree");
}

const broken = (seq: number, detail: string): Broken => ({ seq, detail });
