import { equal, toHex } from "../domain/bytes.ts";
import { CodecError } from "../domain/canonical.ts";
import { commitment, type IntentLink, leafHash, payloadHash } from "../domain/chain.ts";
import type { Crypto } from "../domain/crypto.ts";
import { IntentBody } from "../domain/intent.ts";
import { isInvalid } from "../domain/invalid.ts";
import { Frontier } from "../domain/merkle.ts";
import { PAYLOAD_FIELDS, PayloadRow } from "../domain/payload.ts";
import { RECEIPT, type ReceiptHeader } from "../domain/receipt.ts";
import { decodeSigned, openSigned } from "../domain/signing.ts";
import { IntentReplay } from "./intent-replay.ts";
import type { IntentRow, LedgerState, LedgerStore, ReceiptRow } from "./ledger-store.ts";

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

/** Receipts verified in one step: some 5 ms. */
const PAGE = 64;

/**
 * Verifies what is stored from receipt `fromSeq` to the end: encodings, signatures, links, payload
 * commitments and their openings, that chain and intents end where the state row says. From 1, also
 * that the tree is the state row's, and that every intent ever opened has one receipt or is open.
 * null: it holds. The link of receipt `fromSeq` to the one before is believed, unless that is 1.
 */
export function checkLedger(
  crypto: Crypto,
  store: LedgerStore,
  identity: Identity,
  fromSeq: number,
): Broken | null {
  const steps = checkSteps(crypto, store, identity, fromSeq);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/**
 * The same in steps of a few milliseconds, for a ledger that goes on meanwhile: it speaks of the
 * ledger as it stands at the first step.
 */
export function* checkSteps(
  crypto: Crypto,
  store: LedgerStore,
  { ledgerId, ledgerKey }: Identity,
  fromSeq: number,
): Generator<void, Broken | null> {
  const { state, intents } = snapshot(store);
  if (state === null) {
    return store.receipts(1, 1).length === 0 ? null : broken(0, "there are receipts but no state");
  }
  if (state.version !== 1) return broken(0, `the state row has version ${state.version}`);
  if (!equal(state.ledgerId, ledgerId)) {
    return broken(0, `the store holds ledger ${toHex(state.ledgerId)}`);
  }
  const whole = fromSeq === 1;
  const tree = new Frontier(crypto);
  const open = linksOf(crypto, intents, ledgerId);
  if (typeof open === "string") return broken(0, open);
  let replay = new IntentReplay(crypto, 0, ledgerId);
  if (whole) {
    const fault = addAll(replay, open, 0);
    if (fault !== null) return broken(0, fault);
  }
  let prevHash = whole ? ledgerId : null;
  let lastId = open.reduce((id, { link }) => greater(id, link.receiptId), "");
  let seq = fromSeq;
  while (seq <= state.size) {
    for (const row of store.receipts(seq, Math.min(PAGE, state.size - seq + 1))) {
      if (row.seq !== seq) return broken(seq, `missing; the next is ${row.seq}`);
      const checked = checkReceipt(crypto, row, ledgerKey);
      if (typeof checked === "string") return broken(seq, checked);
      const { header, hash } = checked;
      if (header.seq !== seq) return broken(seq, `says that it is receipt ${header.seq}`);
      if (!equal(header.ledgerId, ledgerId)) return broken(seq, "belongs to another ledger");
      if (header.tenantId !== state.tenantId) return broken(seq, "belongs to another tenant");
      if (prevHash !== null && !equal(header.prevHash, prevHash)) {
        return broken(seq, "does not follow the receipt before it");
      }
      const { intentSeq, intentsOpened, intentsHead } = header;
      if (whole) {
        const fault =
          (intentSeq === 0 ? null : replay.add(intentSeq, checked.link)) ??
          replay.claim(intentsOpened, intentsHead);
        if (fault !== null) return broken(seq, fault);
      } else {
        // Everything opened after the last receipt is still open: from its head the rows lead on.
        replay = new IntentReplay(crypto, intentsOpened, intentsHead);
      }
      lastId = greater(lastId, header.receiptId);
      tree.append(hash);
      prevHash = hash;
      seq += 1;
    }
    if (store.receipts(seq, 1).length === 0) break;
    yield;
  }
  if (seq <= state.size) return broken(seq, `missing; there should be ${state.size}`);
  if (store.receipts(seq, 1).length > 0 && store.state()?.size === state.size) {
    return broken(seq, `is one too many; there should be ${state.size}`);
  }
  if (prevHash !== null && !equal(prevHash, state.lastHash)) {
    return broken(0, "the state row names another last receipt");
  }
  if (whole && !sameNodes(tree.nodes(), state.frontier)) {
    return broken(0, "the state row names another tree");
  }
  if (state.acknowledgedSeq > state.size) return broken(0, "more is acknowledged than there is");
  if (state.lastId < lastId) return broken(0, "the state row's last id is not the last");
  const fault =
    (whole ? null : addAll(replay, open, replay.opened)) ??
    replay.end(state.intentsOpened, state.intentsHead);
  return fault === null ? null : broken(0, fault);
}

/** State and intents of one moment: a commit may land between two reads. */
function snapshot(store: LedgerStore): { state: LedgerState | null; intents: IntentRow[] } {
  for (;;) {
    const state = store.state();
    const intents = store.intents();
    const again = store.state();
    if (state?.size === again?.size && state?.intentsOpened === again?.intentsOpened) {
      return { state, intents };
    }
  }
}

interface Linked {
  readonly intentSeq: number;
  readonly link: IntentLink;
}

function addAll(replay: IntentReplay, intents: readonly Linked[], above: number): string | null {
  for (const { intentSeq, link } of intents) {
    const fault = intentSeq > above ? replay.add(intentSeq, link) : null;
    if (fault !== null) return fault;
  }
  return null;
}

function linksOf(
  crypto: Crypto,
  intents: readonly IntentRow[],
  ledgerId: Uint8Array,
): Linked[] | string {
  const found: Linked[] = [];
  for (const { intentSeq, body } of intents) {
    const intent = strictly(() => IntentBody.decode(body));
    if (typeof intent === "string") return intent;
    if (intent.intentSeq !== intentSeq) return `intent ${intentSeq} is misplaced`;
    const { receiptId, leaseRef, openedAtUs, claimSalt: salt, claim: data } = intent;
    if (salt.length !== 32) return `intent ${intentSeq} has no salt`;
    const of = { field: CLAIM_FIELD, ledgerId, intentSeq, receiptId, salt, data };
    const claimCommitment = commitment(crypto, of);
    found.push({ intentSeq, link: { receiptId, leaseRef, openedAtUs, claimCommitment } });
  }
  return found;
}

const CLAIM_FIELD = 5;

const greater = (a: string, b: string): string => (a > b ? a : b);

/** The last `count` receipts. */
export const tailFrom = (size: number, count: number): number => Math.max(1, size - count + 1);

function checkReceipt(
  crypto: Crypto,
  { signed: bytes, row }: ReceiptRow,
  key: Uint8Array,
): { header: ReceiptHeader; hash: Uint8Array; link: IntentLink } | string {
  const signed = decodeSigned(bytes);
  if (isInvalid(signed)) return signed.detail;
  const opened = openSigned(crypto, RECEIPT, signed);
  if (isInvalid(opened)) return opened.detail;
  const [signer, ...others] = opened.signers;
  if (signer === undefined || others.length > 0 || !equal(signer, key)) {
    return "is not signed by the ledger key";
  }
  const header = opened.body;
  const commitments = checkPayload(crypto, row, header);
  if (typeof commitments === "string") return commitments;
  const { receiptId, leaseRef, openedAtUs } = header;
  const claimCommitment = commitments[CLAIM_FIELD - 1] as Uint8Array;
  const link = { receiptId, leaseRef, openedAtUs, claimCommitment };
  return { header, hash: leafHash(crypto, signed.body), link };
}

/** Its commitments, or what is wrong with them. */
function checkPayload(
  crypto: Crypto,
  row: Uint8Array,
  header: ReceiptHeader,
): Uint8Array[] | string {
  const payload = strictly(() => PayloadRow.decode(row));
  if (typeof payload === "string") return payload;
  const { commitments, openings } = payload;
  if (commitments.length !== PAYLOAD_FIELDS.length) return `has ${commitments.length} commitments`;
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
  return commitments;
}

/** What a strict decoder refuses is a finding here, not a crash. */
function strictly<T>(decode: () => T): T | string {
  try {
    return decode();
  } catch (error) {
    if (error instanceof CodecError) return error.message;
    throw error;
  }
}

const sameNodes = (a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean =>
  a.length === b.length && a.every((node, i) => equal(node, b[i] as Uint8Array));

const broken = (seq: number, detail: string): Broken => ({ seq, detail });
