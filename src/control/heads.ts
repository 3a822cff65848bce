import { equal, toHex } from "../domain/bytes.ts";
import { bytes, message, repeated, u64 } from "../domain/canonical.ts";
import { leafHash } from "../domain/chain.ts";
import { cosignHead } from "../domain/checkpoint.ts";
import type { Crypto } from "../domain/crypto.ts";
import { type Equivocation, EquivocationBody } from "../domain/equivocation.ts";
import type { HeartbeatBody } from "../domain/heartbeat.ts";
import { isInvalid } from "../domain/invalid.ts";
import { leavesRememberedMax, syncBatchMax } from "../domain/limits.ts";
import { Frontier } from "../domain/merkle.ts";
import { RECEIPT, type ReceiptHeader } from "../domain/receipt.ts";
import { SignedBytes, type Verified } from "../domain/signed.ts";
import { encodeSigned, openSigned, refOf } from "../domain/signing.ts";
import type { KeyWrite, LogEntryWrite } from "../storage/control-store.ts";
import { refusal, StatusError } from "../wire/status.ts";
import { askedBeside } from "./beside.ts";
import type { LedgerRecord } from "./projection.ts";
import { COSIGNER_NAME, type Tenant } from "./tenant.ts";

/** What is stored of the end of a held ledger; with the log of its receipts, all there is. */
const HeldRow = message("held", {
  size: u64(1),
  lastHash: bytes(2, 32),
  frontier: repeated(bytes(3, 32)),
  intentsOpened: u64(4),
});
type HeldRow = ReturnType<typeof HeldRow.decode>;

/** The largest head that was cosigned: a row of its own, since it moves apart from the receipts. */
const CosignedRow = message("cosigned", { size: u64(1), root: bytes(2, 32) });
type CosignedRow = ReturnType<typeof CosignedRow.decode>;

/** Where a receipt stands, by its id. */
export const ReceiptRow = message("receiptRow", { ledgerId: bytes(1, 32), seq: u64(2) });
/** One batch as it was held: what watchers of all ledgers read in order. */
export const ArrivalRow = message("arrival", {
  ledgerId: bytes(1, 32),
  fromSeq: u64(2),
  toSeq: u64(3),
});

/**
 * A row of the log of receipts is the receipt as it was signed or, of a sidecar that lets no header leave,
 * its hash alone: 32 bytes, which no receipt is so short as to be.
 */
export const isHash = (row: Uint8Array): boolean => row.length === 32;

export const receiptLog = (ledgerId: Uint8Array): string => `receipts/${toHex(ledgerId)}`;
export const ARRIVALS = "arrivals";
export const RECEIPT_PREFIX = "receipt/";
const heldKey = (ledgerId: Uint8Array): string => `held/${toHex(ledgerId)}`;
const cosignedKey = (ledgerId: Uint8Array): string => `cosigned/${toHex(ledgerId)}`;

/** Receipts newly held, durable. */
export interface Arrival {
  /** Place in the tenant's log of arrivals, from 1. */
  readonly arrival: number;
  readonly ledgerId: Uint8Array;
  readonly fromSeq: number;
  readonly receipts: readonly SignedBytes[];
}

/** Gives places in the tenant's log of arrivals, and tells of what is durable. */
export interface ArrivalLog {
  next(): number;
  publish(arrival: Arrival): void;
}

/** How a head that was claimed stands to the receipts that are held. */
export type Standing =
  /** It is the head of the receipts held. */
  | "HELD"
  /** More receipts must arrive first. */
  | "AHEAD"
  /** Too far behind to be checked from memory; the next one will do. */
  | "BEHIND"
  /** It is not the head of what is held: `contradiction` tells what proves that. */
  | "FORK";

/** What one ledger said twice, and differently. */
export interface Contradiction {
  /** ref or hash of the later of the two. */
  readonly artifact: Uint8Array;
  /** null: of the earlier one only the hash is held, which nobody signed by itself. */
  readonly proof: Equivocation | null;
}

/**
 * What the control plane holds of one work ledger: receipt headers, verified, chained, durable. Its
 * tree is made of these alone, never of what a sidecar says of it.
 */
export class HeldLedger {
  readonly record: LedgerRecord;
  readonly #tenant: Tenant;
  readonly #crypto: Crypto;
  readonly #arrivals: ArrivalLog;
  #row: HeldRow;
  #cosigned: CosignedRow;
  /** The tree as it was before `#leaves`. */
  #base: Frontier;
  #leaves: Uint8Array[] = [];
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(
    tenant: Tenant,
    crypto: Crypto,
    record: LedgerRecord,
    arrivals: ArrivalLog,
    row: HeldRow,
    cosigned: CosignedRow,
  ) {
    this.record = record;
    this.#tenant = tenant;
    this.#crypto = crypto;
    this.#arrivals = arrivals;
    this.#row = row;
    this.#cosigned = cosigned;
    this.#base = new Frontier(crypto, row.size, row.frontier);
  }

  static async open(
    tenant: Tenant,
    crypto: Crypto,
    record: LedgerRecord,
    arrivals: ArrivalLog,
  ): Promise<HeldLedger> {
    const [held, cosigned] = await Promise.all([
      tenant.get(heldKey(record.ledgerId)),
      tenant.get(cosignedKey(record.ledgerId)),
    ]);
    const row = held && HeldRow.decode(held.value);
    return new HeldLedger(
      tenant,
      crypto,
      record,
      arrivals,
      row ?? { ...HeldRow.empty(), lastHash: record.ledgerId },
      cosigned === null ? CosignedRow.empty() : CosignedRow.decode(cosigned.value),
    );
  }

  /** Receipts held durably. */
  get size(): number {
    return this.#row.size;
  }

  /** Size of the largest head that was cosigned. */
  get cosignedSize(): number {
    return this.#cosigned.size;
  }

  /**
   * Takes a batch: duplicates are passed over, a gap takes nothing. Resolves once everything up to
   * `size` is durable; to what contradicts what is held, and then nothing was taken.
   * @throws StatusError for a batch that is not this ledger's, or does not verify.
   */
  accept(fromSeq: number, receipts: readonly SignedBytes[]): Promise<Contradiction | null> {
    return this.#inTurn(() => this.#accept(fromSeq, receipts));
  }

  /**
   * The same of hashes alone, 32 bytes each: the tree can be held against signed heads, and nothing else
   * about these receipts is known here.
   */
  acceptHashes(fromSeq: number, hashes: readonly Uint8Array[]): Promise<Contradiction | null> {
    return this.#inTurn(() => this.#acceptHashes(fromSeq, hashes));
  }

  #inTurn<T>(take: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(take);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #acceptHashes(
    fromSeq: number,
    hashes: readonly Uint8Array[],
  ): Promise<Contradiction | null> {
    checkBatch(fromSeq, hashes.length);
    const fresh: { leaf: Uint8Array }[] = [];
    let { size } = this.#row;
    for (const [i, leaf] of hashes.entries()) {
      const seq = fromSeq + i;
      if (leaf.length !== 32) throw unfit(`hashes[${i}]: is not 32 bytes`);
      if (seq > size + 1) break;
      if (seq <= size) {
        if (!equal(leaf, await this.#leafAt(seq, fresh))) return { artifact: leaf, proof: null };
        continue;
      }
      fresh.push({ leaf });
      size = seq;
    }
    const last = fresh.at(-1);
    if (last === undefined) return null;
    const first = size - fresh.length + 1;
    const log = receiptLog(this.record.ledgerId);
    await this.#grow(
      fresh.map((f) => f.leaf),
      { ...this.#row, size, lastHash: last.leaf },
      {
        writes: [],
        appends: fresh.map(({ leaf }, i) => ({ log, seq: first + i, value: leaf })),
      },
    );
    return null;
  }

  async #accept(fromSeq: number, receipts: readonly SignedBytes[]): Promise<Contradiction | null> {
    checkBatch(fromSeq, receipts.length);
    const row = this.#row;
    let { lastHash, intentsOpened, size } = row;
    const fresh: { header: ReceiptHeader; signed: SignedBytes; leaf: Uint8Array }[] = [];
    const asked = await this.#askedOf(fromSeq, receipts);
    for (const [i, signed] of receipts.entries()) {
      const seq = fromSeq + i;
      if (seq > size + 1) break;
      const leaf = leafHash(this.#crypto, signed.body);
      if (seq <= size && equal(leaf, await this.#leafAt(seq, fresh))) continue;
      const header = this.#verify(asked[i] ?? this.#crypto, seq, signed);
      if (seq <= size) {
        return this.#contradiction("RECEIPTS", await this.#receiptAt(seq, fresh), signed);
      }
      if (!equal(header.prevHash, lastHash)) {
        // Of a first receipt the ledger's id itself is what it contradicts: no second receipt needed.
        if (size === 0) throw unfit("receipt 1 must follow the ledger's genesis");
        return this.#contradiction("CHAIN", await this.#receiptAt(size, fresh), signed);
      }
      if (header.intentsOpened < intentsOpened) {
        throw unfit(`receipt ${seq}: intents_opened fell from ${intentsOpened}`);
      }
      fresh.push({ header, signed, leaf });
      ({ intentsOpened } = header);
      lastHash = leaf;
      size = seq;
    }
    if (fresh.length === 0) return null;
    await this.#hold(fresh, { ...row, size, lastHash, intentsOpened });
    return null;
  }

  /** Of those that go on where we are, all at once; of what is held already mostly nothing is asked. */
  #askedOf(fromSeq: number, receipts: readonly SignedBytes[]): Promise<(Crypto | null)[]> {
    const { ledgerKey } = this.record;
    const isNext = (seq: number): boolean => fromSeq <= this.size + 1 && seq > this.size;
    return Promise.all(
      receipts.map(async (signed, i) =>
        isNext(fromSeq + i) ? askedBeside(this.#crypto, RECEIPT, signed, ledgerKey) : null,
      ),
    );
  }

  /** Strict, of this ledger and seq, signed by its key alone. */
  #verify(crypto: Crypto, seq: number, signed: SignedBytes): ReceiptHeader {
    const { ledgerId, ledgerKey } = this.record;
    const opened = openSigned(crypto, RECEIPT, signed);
    if (isInvalid(opened)) throw refusal(opened);
    const { body, signers } = opened;
    const own = signers.length === 1 && equal(signers[0] as Uint8Array, ledgerKey);
    if (!own) throw unfit(`receipt ${seq}: is not signed by the ledger key alone`);
    const here = equal(body.ledgerId, ledgerId) && body.tenantId === this.#tenant.tenantId;
    if (body.version !== 1 || body.seq !== seq || !here) {
      throw unfit(`receipt ${seq}: is of another ledger, seq or version`);
    }
    return body;
  }

  async #hold(
    fresh: readonly { header: ReceiptHeader; signed: SignedBytes; leaf: Uint8Array }[],
    next: HeldRow,
  ): Promise<void> {
    const { ledgerId } = this.record;
    const fromSeq = (fresh[0] as (typeof fresh)[number]).header.seq;
    const arrival = this.#arrivals.next();
    const log = receiptLog(ledgerId);
    await this.#grow(
      fresh.map((f) => f.leaf),
      next,
      {
        writes: [
          ...fresh.map(({ header }) => ({
            key: RECEIPT_PREFIX + header.receiptId,
            value: ReceiptRow.encode({ ledgerId, seq: header.seq }),
          })),
        ],
        appends: [
          ...fresh.map((f) => ({ log, seq: f.header.seq, value: encodeSigned(f.signed) })),
          {
            log: ARRIVALS,
            seq: arrival,
            value: ArrivalRow.encode({ ledgerId, fromSeq, toSeq: next.size }),
          },
        ],
      },
    );
    this.#arrivals.publish({ arrival, ledgerId, fromSeq, receipts: fresh.map((f) => f.signed) });
  }

  /** Makes further leaves durable, with whatever is to be written beside them. */
  async #grow(
    leaves: readonly Uint8Array[],
    next: HeldRow,
    { writes, appends }: { writes: readonly KeyWrite[]; appends: readonly LogEntryWrite[] },
  ): Promise<void> {
    const tree = new Frontier(this.#crypto, this.#base.size, this.#base.nodes());
    for (const leaf of [...this.#leaves, ...leaves]) tree.append(leaf);
    const row = { ...next, frontier: tree.nodes() };
    const held = { key: heldKey(this.record.ledgerId), value: HeldRow.encode(row) };
    await this.#tenant.record({ entries: [], writes: [held, ...writes], appends });
    this.#row = row;
    // Judging may have forgotten some meanwhile.
    this.#remember([...this.#leaves, ...leaves]);
  }

  #remember(leaves: Uint8Array[]): void {
    this.#leaves = leaves;
    if (leaves.length > leavesRememberedMax) this.#forget(leaves.length - leavesRememberedMax / 2);
  }

  #forget(count: number): void {
    if (count <= 0) return;
    for (const leaf of this.#leaves.slice(0, count)) this.#base.append(leaf);
    this.#leaves = this.#leaves.slice(count);
  }

  /** RFC 6962 root over the first `size` receipts; null: forgotten, or not held. */
  rootAt(size: number): Uint8Array | null {
    if (size < this.#base.size || size > this.size) return null;
    const tree = new Frontier(this.#crypto, this.#base.size, this.#base.nodes());
    for (const leaf of this.#leaves.slice(0, size - this.#base.size)) tree.append(leaf);
    return tree.root();
  }

  /** Compares the head of a beat, verified by the caller, with the receipts held. */
  judge({ size, root }: HeartbeatBody): Standing {
    if (size > this.size) return "AHEAD";
    // Most beats say again what was cosigned, and that was told from the receipts.
    const isCosigned = size === this.#cosigned.size && equal(root, this.#cosigned.root);
    const known = isCosigned ? root : this.rootAt(size);
    if (known === null) return "BEHIND";
    if (!equal(known, root)) return "FORK";
    // No head goes back behind this one, so the leaves up to it are needed no more.
    this.#forget(size - this.#base.size);
    return "HELD";
  }

  /** What proves that this beat, which `judge` found to be a FORK, tells of another history. */
  async contradiction(beat: Verified<HeartbeatBody>): Promise<Contradiction> {
    const { size } = beat.body;
    const first =
      size === 0
        ? (await this.#tenant.genesis(this.record)).signed
        : await this.#receiptAt(size, []);
    return { ...this.#contradiction("ROOT", first, beat.signed), artifact: beat.ref };
  }

  /**
   * Countersigns a head that `judge` found HELD: as of `nowUs` it is the largest one seen. The note is
   * to be told to nobody before `durable` resolves; for a head that was cosigned before that is at
   * once. null: a larger one was cosigned already.
   */
  async cosign(
    beat: HeartbeatBody,
    nowUs: number,
  ): Promise<{ readonly note: string; readonly durable: Promise<unknown> } | null> {
    const { size, root } = beat;
    const { ledgerId } = this.record;
    if (size < this.#cosigned.size) return null;
    let durable: Promise<unknown> = Promise.resolve();
    if (size > this.#cosigned.size || this.#cosigned.root.length === 0) {
      // Of its own: the beat brought it as a view of all that came with it.
      this.#cosigned = { size, root: root.slice() };
      const value = CosignedRow.encode(this.#cosigned);
      durable = this.#tenant.record({
        entries: [],
        writes: [{ key: cosignedKey(ledgerId), value }],
      });
    }
    const cosigner = { name: COSIGNER_NAME, signer: this.#tenant.cosignerSigner };
    const head = { ledgerId, size, root };
    return {
      note: await cosignHead(this.#crypto, head, cosigner, Math.floor(nowUs / 1e6)),
      durable,
    };
  }

  async #leafAt(seq: number, fresh: readonly { leaf: Uint8Array }[]): Promise<Uint8Array> {
    if (seq > this.size) return (fresh[seq - this.size - 1] as { leaf: Uint8Array }).leaf;
    const known = this.#leaves[seq - this.#base.size - 1];
    if (known !== undefined) return known;
    const row = await this.#rowAt(seq);
    return isHash(row) ? row : leafHash(this.#crypto, SignedBytes.decode(row).body);
  }

  /** null: its hash alone is held. */
  async #receiptAt(
    seq: number,
    fresh: readonly { signed: SignedBytes }[],
  ): Promise<SignedBytes | null> {
    if (seq > this.size) return (fresh[seq - this.size - 1] as { signed: SignedBytes }).signed;
    const row = await this.#rowAt(seq);
    return isHash(row) ? null : SignedBytes.decode(row);
  }

  async #rowAt(seq: number): Promise<Uint8Array> {
    const [entry] = await this.#tenant.read(receiptLog(this.record.ledgerId), seq, 1);
    if (entry?.seq !== seq) throw new Error(`receipt ${seq} is held, and not stored`);
    return entry.value;
  }

  #contradiction(
    kind: Equivocation["kind"],
    first: SignedBytes | null,
    second: SignedBytes,
  ): Contradiction {
    const { ledgerId } = this.record;
    const artifact = refOf(this.#crypto, "receipt", second.body);
    const proof = first && { version: 1, ledgerId, kind, first, second };
    return { artifact, proof };
  }
}

function checkBatch(fromSeq: number, length: number): void {
  if (length > syncBatchMax || fromSeq < 1) {
    throw unfit(`a batch has at most ${syncBatchMax} receipts, from seq 1 on`);
  }
}

const unfit = (detail: string): StatusError =>
  new StatusError("INVALID_ARGUMENT", "ARGUMENT_INVALID", detail);

export const encodeEquivocation = (proof: Equivocation): Uint8Array =>
  EquivocationBody.encode(proof);
