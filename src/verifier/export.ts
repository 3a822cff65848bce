import { concat, equal, toHex, utf8 } from "../domain/bytes.ts";
import { commitment, leafHash } from "../domain/chain.ts";
import { parseCheckpoint } from "../domain/checkpoint.ts";
import type { Crypto } from "../domain/crypto.ts";
import { DOCK } from "../domain/dock.ts";
import { GENESIS } from "../domain/genesis.ts";
import { GRANT } from "../domain/grant.ts";
import { HEARTBEAT } from "../domain/heartbeat.ts";
import { IntentBody } from "../domain/intent.ts";
import { isInvalid } from "../domain/invalid.ts";
import { LEASE } from "../domain/lease.ts";
import { manifestHash } from "../domain/manifest.ts";
import { Frontier, inclusionProof } from "../domain/merkle.ts";
import { PAYLOAD_FIELDS, type PayloadField, PayloadRow } from "../domain/payload.ts";
import { ReceiptHeader } from "../domain/receipt.ts";
import { SignedBytes, type SignedKind } from "../domain/signed.ts";
import { refOf } from "../domain/signing.ts";
import { TRANSITION } from "../domain/transition.ts";
import { LeafFrames } from "./leaf-frames.ts";
import { LeaseBook } from "./lease-book.ts";
import {
  EndFrame,
  type FrameKind,
  FrontierFrame,
  frame,
  OpenIntentFrame,
  PackHeader,
  ProofFrame,
  packStart,
  ReceiptFrame,
} from "./pack.ts";

/**
 * One ledger as its keeper holds it; the control plane's own has only keysets, checkpoints and receipts. Everything is handed over as stored: encoded SignedBytes, raw
 * manifest bytes, note text. More than is needed does no harm; what nothing cites is left out.
 */
export interface LedgerEvidence {
  readonly genesis: Uint8Array;
  /** Ascending versions, the one in force last. */
  readonly keysets: readonly Uint8Array[];
  readonly manifests: readonly Uint8Array[];
  readonly grants: readonly Uint8Array[];
  readonly docks: readonly Uint8Array[];
  readonly leases: readonly Uint8Array[];
  /** Ascending epochs without a gap; what is missing before or after them is flagged. */
  readonly revocations: readonly Uint8Array[];
  readonly heartbeats: readonly Uint8Array[];
  readonly transitions: readonly Uint8Array[];
  /** Notes that carry a cosignature. */
  readonly checkpoints: readonly string[];
  /** What was durable when the export began; nothing later is asked for, or put in. */
  readonly head: { readonly size: number; readonly intentsOpened: number };
  /** Receipts with seq ≥ fromSeq, ascending, at most `limit`; empty only when there are none. */
  read(fromSeq: number, limit: number): Page | Promise<Page>;
  /** Encoded IntentBody rows without a receipt at that moment, in opening order. */
  readonly openIntents: readonly Uint8Array[];
}

/** A ledger that is taken up when its turn comes: of a whole tenant, one at a time is in memory. */
export type LaterEvidence = () => Promise<LedgerEvidence>;

/** `signed`: SignedBytes; `row`: PayloadRow, empty where none is kept. */
type Page = readonly { seq: number; signed: Uint8Array; row: Uint8Array }[];

export interface ExportChoice {
  /** First and last seq, inclusive; the whole ledger when absent. */
  readonly range?: { readonly from: number; readonly to: number };
  /** Which payload fields are laid open; all five when absent. */
  readonly disclose?: readonly PayloadField[];
  /** Seqs, ascending, of receipts to show by themselves, in place of a range. Needs a checkpoint over them. */
  readonly singles?: readonly number[];
}

const pageReceipts = 256;
const gatheredBytes = 64 * 1024;

/**
 * Writes a pack of one tenant's ledgers as a stream, a receipt at a time. The same evidence gives the
 * same bytes: no time and no randomness go in.
 * @throws RangeError when a range lies outside its ledger.
 */
export async function* exportPack(
  crypto: Crypto,
  tenantId: string,
  ledgers: readonly (LedgerEvidence | LaterEvidence)[],
  choice: ExportChoice = {},
): AsyncGenerator<Uint8Array> {
  let frames = 0;
  const put = (kind: FrameKind, body: Uint8Array): Uint8Array => {
    frames++;
    return frame(kind, body);
  };
  yield packStart();
  yield put("HEADER", PackHeader.encode({ tenantId, ledgers: ledgers.length }));
  for (const ledger of ledgers) {
    const evidence = typeof ledger === "function" ? await ledger() : ledger;
    yield* section(crypto, evidence, choice, put);
  }
  yield put("END", EndFrame.encode({ frames: frames + 1 }));
}

type Put = (kind: FrameKind, body: Uint8Array) => Uint8Array;

async function* section(
  crypto: Crypto,
  evidence: LedgerEvidence,
  choice: ExportChoice,
  put: Put,
): AsyncGenerator<Uint8Array> {
  if (choice.singles !== undefined) {
    yield* singles(crypto, evidence, choice.singles, choice, put);
    return;
  }
  const { size } = evidence.head;
  const { from, to } = choice.range ?? { from: 1, to: size };
  if (!(from >= 1 && from <= to && to <= size)) {
    throw new RangeError(`receipts ${from} to ${to} are not within 1 to ${size}`);
  }
  const found = await surveyReceipts(crypto, evidence, from, to);
  const { frontier, leaves, openRows } = found;
  const authority = authorityOf(crypto, evidence, (book) => {
    for (const header of found.citing) citeAll(book, header);
    for (const { leaseRef } of openRows) book.cite(leaseRef);
  });
  yield* preamble(evidence, authority, put);
  if (frontier !== null) yield put("FRONTIER", FrontierFrame.encode(frontier));
  // Without a head to hold them against, and with every receipt shown, leaves would tell nothing.
  if (authority.checkpoints.length > 0 || to < size) {
    for (const body of leaves) yield put("LEAVES", body);
  }
  const open = choice.disclose ?? PAYLOAD_FIELDS;
  for await (const page of pages(evidence, from, to)) {
    const receipts = page.map(({ signed, row }) =>
      put("RECEIPT", ReceiptFrame.encode({ signed, row: disclosing(row, open) })),
    );
    yield* gathered(receipts);
  }
  for (const row of openRows) yield put("OPEN_INTENT", OpenIntentFrame.encode(row));
}

/**
 * Receipts by themselves under the largest checkpoint: what they rest on, and of each the way to its root.
 */
async function* singles(
  crypto: Crypto,
  evidence: LedgerEvidence,
  seqs: readonly number[],
  { disclose = PAYLOAD_FIELDS }: ExportChoice,
  put: Put,
): AsyncGenerator<Uint8Array> {
  const [note, size] = evidence.checkpoints
    .map((n) => [n, sizeOf(n)] as const)
    .filter(([, s]) => s <= evidence.head.size)
    .reduce((a, b) => (b[1] > a[1] ? b : a), ["", 0]);
  const [first = 0, last = 0] = [seqs[0], seqs.at(-1)];
  if (!(first >= 1 && last <= size)) {
    throw new RangeError(`receipts ${first} to ${last} are not within 1 to ${size}, the cosigned`);
  }
  const leaves: Uint8Array[] = [];
  const shown: { seq: number; signed: Uint8Array; row: Uint8Array }[] = [];
  for await (const page of pages(evidence, 1, size)) {
    for (const receipt of page) {
      leaves.push(leafHash(crypto, SignedBytes.view(receipt.signed).body));
      if (seqs.includes(receipt.seq)) shown.push(receipt);
    }
  }
  const only = {
    ...evidence,
    heartbeats: [],
    transitions: [],
    checkpoints: [note],
    openIntents: [],
  };
  const cited = shown.map(({ signed }) => ReceiptHeader.decode(SignedBytes.decode(signed).body));
  const authority = authorityOf(crypto, only, (book) => {
    for (const header of cited) citeAll(book, header);
  });
  yield* preamble(only, authority, put);
  for (const { seq, signed, row } of shown) {
    const path = inclusionProof(crypto, leaves, seq - 1);
    yield put("PROOF", ProofFrame.encode({ signed, row: disclosing(row, disclose), size, path }));
  }
}

async function* pages(evidence: LedgerEvidence, from: number, to: number) {
  let next = from;
  while (next <= to) {
    const page = await evidence.read(next, Math.min(pageReceipts, to - next + 1));
    if (page.length === 0) throw new RangeError(`receipt ${next} is missing from the ledger`);
    yield page;
    next += page.length;
  }
}

/** The same bytes in fewer parts: each costs whoever takes it a turn. */
function* gathered(parts: readonly Uint8Array[]): Generator<Uint8Array> {
  let held: Uint8Array[] = [];
  let size = 0;
  for (const part of parts) {
    held.push(part);
    size += part.length;
    if (size < gatheredBytes) continue;
    yield concat(...held);
    held = [];
    size = 0;
  }
  if (size > 0) yield concat(...held);
}

/** The row with only the chosen fields open. */
function disclosing(row: Uint8Array, fields: readonly PayloadField[]): Uint8Array {
  if (row.length === 0 || PAYLOAD_FIELDS.every((f) => fields.includes(f))) return row;
  const { commitments, openings } = PayloadRow.view(row);
  const chosen = openings.filter((o) => fields.some((f) => PAYLOAD_FIELDS[o.field - 1] === f));
  return PayloadRow.encode({ commitments, openings: chosen });
}

interface Artifact<T> {
  readonly bytes: Uint8Array;
  readonly signed: SignedBytes;
  readonly body: T;
  readonly ref: Uint8Array;
}

function read<T>(crypto: Crypto, kind: SignedKind<T>, bytes: Uint8Array): Artifact<T> {
  const signed = SignedBytes.decode(bytes);
  const ref = refOf(crypto, kind.name, signed.body);
  return { bytes, signed, body: kind.body.decode(signed.body), ref };
}

function* preamble(evidence: LedgerEvidence, authority: Chosen, put: Put): Generator<Uint8Array> {
  yield put("GENESIS", evidence.genesis);
  for (const bytes of evidence.keysets) yield put("KEYSET", bytes);
  for (const bytes of authority.manifests) yield put("MANIFEST", bytes);
  for (const { bytes } of authority.grants) yield put("GRANT", bytes);
  for (const { bytes } of authority.docks) yield put("DOCK", bytes);
  for (const { bytes } of authority.leases) yield put("LEASE", bytes);
  for (const bytes of evidence.revocations) yield put("REVOCATION", bytes);
  for (const { bytes } of authority.heartbeats) yield put("HEARTBEAT", bytes);
  for (const { bytes } of authority.transitions) yield put("TRANSITION", bytes);
  for (const note of authority.checkpoints) yield put("CHECKPOINT", utf8(note));
}

type Chosen = ReturnType<typeof authorityOf>;

/** What a receipt cites: its lease, and those that carried it on. */
function citeAll(book: LeaseBook, header: Citing): void {
  const lease = book.cite(header.leaseRef);
  if (lease !== null && header.kind === "ACTION")
    book.covers(lease, header.scope, header.egressLastUs);
}

/** Chooses with the verifier's own eyes what is spoken for, once everything has been cited. */
function authorityOf(crypto: Crypto, evidence: LedgerEvidence, cite: (book: LeaseBook) => void) {
  const genesis = read(crypto, GENESIS, evidence.genesis);
  const inTime = (at: { size: number; intentsOpened: number }) =>
    at.size <= evidence.head.size && at.intentsOpened <= evidence.head.intentsOpened;
  const ours = (body: { ledgerId: Uint8Array }) => equal(body.ledgerId, genesis.ref);

  const heartbeats = evidence.heartbeats
    .map((bytes) => read(crypto, HEARTBEAT, bytes))
    .filter(({ body }) => ours(body) && inTime(body));
  const candidates = evidence.leases
    .map((bytes) => read(crypto, LEASE, bytes))
    .filter(({ body }) => ours(body) && inTime({ ...body, size: body.headSize }));
  const book = new LeaseBook(new Map(candidates.map((l) => [toHex(l.ref), l])));
  for (const { body } of heartbeats) book.cite(body.leaseRef);
  cite(book);
  const leases = candidates.filter((l) => book.isReferenced(l));

  const docks = evidence.docks
    .map((bytes) => read(crypto, DOCK, bytes))
    .filter(({ ref }) => equal(ref, genesis.body.dockRef));
  const grantRefs = new Set([...docks, ...leases].map(({ body }) => toHex(body.grantRef)));
  const grants = evidence.grants
    .map((bytes) => read(crypto, GRANT, bytes))
    .filter(({ ref }) => grantRefs.has(toHex(ref)));
  const identities = new Set([genesis, ...grants].map(({ body }) => toHex(body.manifestHash)));
  return {
    heartbeats,
    leases,
    docks,
    grants,
    manifests: evidence.manifests.filter((m) => identities.has(toHex(manifestHash(crypto, m)))),
    transitions: evidence.transitions
      .map((bytes) => read(crypto, TRANSITION, bytes))
      .filter(({ body }) => ours(body)),
    checkpoints: evidence.checkpoints.filter((note) => sizeOf(note) <= evidence.head.size),
  };
}

type Citing = Pick<ReceiptHeader, "leaseRef" | "kind" | "scope" | "egressLastUs">;

/**
 * Looks once over the ledger: the tree left of the range, its leaves from there on, what its receipts
 * cite, and the intents open at its end.
 */
async function surveyReceipts(crypto: Crypto, evidence: LedgerEvidence, from: number, to: number) {
  const tree = new Frontier(crypto);
  const open = new Map<number, OpenIntentFrame>();
  let frontier: FrontierFrame | null = null;
  const leaves = new LeafFrames();
  const citing = new Citings();
  for await (const page of pages(evidence, 1, evidence.head.size)) {
    for (const { seq, signed, row } of page) {
      const { body } = SignedBytes.view(signed);
      const leaf = leafHash(crypto, body);
      if (seq < from - 1) {
        tree.append(leaf);
        continue;
      }
      const header = ReceiptHeader.decode(body);
      if (seq < from) {
        const { intentsOpened, intentsHead } = header;
        frontier = { size: seq - 1, nodes: tree.nodes(), last: leaf, intentsOpened, intentsHead };
        continue;
      }
      leaves.push(leaf);
      if (seq <= to) citing.add(header);
      else if (header.intentSeq > 0 && row.length > 0) {
        // Closed after the range: open, as far as its last receipt can tell.
        const claimCommitment = PayloadRow.decode(row).commitments[4] as Uint8Array;
        open.set(header.intentSeq, { ...header, claimCommitment });
      }
    }
  }
  const ledgerId = refOf(crypto, "genesis", SignedBytes.decode(evidence.genesis).body);
  for (const bytes of evidence.openIntents) {
    const intent = IntentBody.decode(bytes);
    const { receiptId, intentSeq, claimSalt: salt, claim: data } = intent;
    const of = { field: 5, ledgerId, intentSeq, receiptId, salt, data };
    open.set(intentSeq, { ...intent, claimCommitment: commitment(crypto, of) });
  }
  return {
    frontier,
    leaves: leaves.bodies(),
    citing: citing.all(),
    openRows: [...open.values()].sort((a, b) => a.intentSeq - b.intentSeq),
  };
}

/** Of a million receipts a few thousand leases and scopes: of each pair the last egress is enough. */
class Citings {
  readonly #found = new Map<string, Citing>();

  add({ leaseRef, kind, scope, egressLastUs }: ReceiptHeader): void {
    const name = `${toHex(leaseRef)} ${kind} ${scope}`;
    const found = this.#found.get(name);
    if (found === undefined || found.egressLastUs < egressLastUs)
      this.#found.set(name, { leaseRef, kind, scope, egressLastUs });
  }

  all(): Citing[] {
    return [...this.#found.values()];
  }
}

function sizeOf(note: string): number {
  const checkpoint = parseCheckpoint(note.slice(0, note.indexOf("\n\n") + 1));
  return isInvalid(checkpoint) ? Number.POSITIVE_INFINITY : checkpoint.size;
}
