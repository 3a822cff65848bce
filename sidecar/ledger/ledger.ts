import { equal } from "../../src/domain/bytes.ts";
import { type Chain, type ChainState, leafHash } from "../../src/domain/chain.ts";
import { ClaimBody } from "../../src/domain/claim.ts";
import type { Crypto } from "../../src/domain/crypto.ts";
import { type IdGenerator, newId } from "../../src/domain/ids.ts";
import type { IntentBody } from "../../src/domain/intent.ts";
import * as limits from "../../src/domain/limits.ts";
import { Numbered } from "../../src/domain/numbered.ts";
import { PayloadRow } from "../../src/domain/payload.ts";
import { pae, SignedBytes } from "../../src/domain/signed.ts";
import type { Clock } from "../../src/native/clock.ts";
import type { Broken } from "../../src/storage/ledger-check.ts";
import type { IntentRow, LedgerStore } from "../../src/storage/ledger-store.ts";
import { Committer } from "./committer.ts";
import { Denials } from "./denials.ts";
import { DurableView } from "./durable-view.ts";
import { Intent } from "./intent.ts";
import { crashed, type LifecycleEvent, lifecycleDraft, refusedAfterAll } from "./lifecycle.ts";
import { makeReceipt, type Receipt } from "./receipt-maker.ts";
import type { Refusals } from "./refusals.ts";
import type { BatchSigner } from "./signer.ts";
import { SigningQueue } from "./signing-queue.ts";
import { rowsOf, type SignedReceipt, stateOf, type Waiting, withSignatures } from "./step.ts";
import { ScopeCounts, Spendings } from "./tally.ts";
import {
  type AmendDraft,
  type Closing,
  type IntentDraft,
  type LedgerHead,
  type LedgerStats,
  LedgerUnavailable,
  type OpenIntent,
  type RecordDraft,
  type Spent,
  type StoredHeader,
  type StoredReceipt,
  type WorkLedger,
} from "./work-ledger.ts";

export interface LedgerParts {
  readonly crypto: Crypto;
  readonly clock: Clock;
  readonly store: LedgerStore;
  readonly signer: BatchSigner;
  readonly refusals: Refusals;
  readonly ids: IdGenerator;
  /** 32 fresh random bytes. */
  readonly salt: () => Uint8Array;
  /** Continues what is stored. */
  readonly chain: Chain;
  readonly acknowledgedSeq: number;
  /** The greatest id stored; empty: none. */
  readonly lastId: string;
  /** As measured at the start: what LIFECYCLE receipts name. */
  readonly manifestHash: Uint8Array;
  /** Gives back what was opened for this ledger: signer, store, lock. */
  readonly release: () => Promise<void>;
}

/** Whoever waits until more bytes are durably reserved for an intent. */
interface Reserving {
  readonly intent: Intent;
  readonly resolve: () => void;
  readonly reject: (reason: LedgerUnavailable) => void;
}

interface Flushing {
  /** Resolves once this many receipts are durable. */
  readonly size: number;
  readonly resolve: () => void;
  readonly reject: (reason: LedgerUnavailable) => void;
}

export class Ledger implements WorkLedger {
  readonly ledgerId: Uint8Array;
  readonly failed: Promise<LedgerUnavailable>;
  readonly #parts: LedgerParts;
  readonly #chain: Chain;
  readonly #committer: Committer;
  readonly #signing: SigningQueue<Receipt>;
  readonly #denials: Denials;
  readonly #counts: ScopeCounts;
  readonly #spendings: Spendings;
  readonly #view: DurableView;
  readonly #tellFailed: (reason: LedgerUnavailable) => void;
  /** Without a receipt, in opening order. */
  readonly #open = new Numbered<Intent>();
  #lastOpened: { leaseRef: Uint8Array; openedAtUs: number } | null = null;
  #waiting: Waiting[] = [];
  #beingWritten: Waiting[] = [];
  #reserving: Reserving[] = [];
  #beingReserved: Reserving[] = [];
  #signed: SignedReceipt[] = [];
  #flushing: Flushing[] = [];
  #lastId: string;
  #amending: Promise<unknown> = Promise.resolve();
  #acknowledgedSeq: number;
  #acknowledgedStored: number;
  #failure: LedgerUnavailable | null = null;

  constructor(parts: LedgerParts) {
    const { clock, store, chain } = parts;
    this.#parts = parts;
    this.#chain = chain;
    this.ledgerId = chain.ledgerId;
    this.#view = new DurableView(parts.crypto, store, parts.signer.publicKey, chain.state());
    this.#lastId = parts.lastId;
    this.#acknowledgedSeq = parts.acknowledgedSeq;
    this.#acknowledgedStored = parts.acknowledgedSeq;
    this.#counts = new ScopeCounts(store.counts());
    this.#spendings = new Spendings(store.spent());
    const failed = Promise.withResolvers<LedgerUnavailable>();
    this.failed = failed.promise;
    this.#tellFailed = failed.resolve;
    this.#committer = new Committer({
      clock,
      lazyUs: limits.receiptLingerUs,
      deadlineUs: limits.ledgerDeadlineUs,
      commit: () => this.#commit(),
      onLate: () => this.#refuseWaiting(SLOW_DISK),
      onFailed: (error) => this.#fail("the ledger cannot be written", error),
    });
    this.#signing = new SigningQueue({
      clock,
      signer: parts.signer,
      lingerUs: limits.signingLingerUs,
      enough: limits.signingBatch,
      most: limits.signingBatchMax,
      deadlineUs: limits.ledgerDeadlineUs,
      messageOf: ({ body }) => pae("receipt", body),
      onLate: () => this.#refuseWaiting(SLOW_SIGNER),
      onSigned: (receipts, signatures) => this.#keepSigned(receipts, signatures),
      onFailed: (error) => this.#fail("the signer is gone", error),
    });
    this.#denials = new Denials({
      clock,
      windowUs: limits.denialWindowUs,
      keysMax: limits.denialsCountedMax,
      newId: () => this.#newReceiptId(),
      append: (draft, receiptId, count) => this.#appendRecord(draft, receiptId, count),
    });
  }

  // Promises

  open(draft: IntentDraft): Promise<OpenIntent> {
    // What throws in here rejects.
    return new Promise((resolve, reject) => {
      const refusal = this.#refusal();
      if (refusal !== null) throw this.#refused(refusal);
      const { intent, row } = this.#promise(draft);
      this.#waiting.push({ intent, row, resolve, reject });
      // More actions than signatures: new ones wait for the signer, which has its own deadline.
      if (this.#signing.pending < limits.unsignedReceiptsBrake) this.#committer.now();
      else this.#signing.hurry();
    });
  }

  /** Gives the action its place in the intent chain. */
  #promise(draft: IntentDraft): { intent: Intent; row: IntentRow } {
    const { clock, crypto, salt } = this.#parts;
    if (draft.leaseRef.length !== 32) throw new TypeError("an intent needs the ref of its lease");
    const body: IntentBody = {
      version: 1,
      receiptId: this.#newReceiptId(),
      intentSeq: this.#chain.nextIntentSeq,
      leaseRef: draft.leaseRef,
      manifestHash: draft.manifestHash,
      scope: draft.scope,
      // Under one lease time never falls, or a clock set back would stretch it.
      openedAtUs: Math.max(draft.openedAtUs, this.#lastOpenedUnder(draft.leaseRef)),
      claim: ClaimBody.encode(draft.claim),
      claimSalt: salt(),
      goal: draft.goal,
      goalSalt: salt(),
      wouldDeny: draft.wouldDeny,
      reservedBytes: draft.reservedBytes,
    };
    const { grantRef, listens } = draft;
    const opened = { grantRef, monotonicUs: clock.monotonicUs(), listens };
    const intent = new Intent(crypto, this.ledgerId, body, opened);
    // Encoded before the chain moves: a draft that does not encode must leave no trace.
    const row = intent.row();
    this.#chain.openIntent(intent.link());
    this.#lastOpened = { leaseRef: body.leaseRef, openedAtUs: body.openedAtUs };
    this.#open.add(intent.intentSeq, intent);
    this.#spendings.open(draft);
    return { intent, row };
  }

  #lastOpenedUnder(leaseRef: Uint8Array): number {
    const last = this.#lastOpened;
    return last !== null && equal(last.leaseRef, leaseRef) ? last.openedAtUs : 0;
  }

  reserve(given: OpenIntent, bytes: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const intent = given as Intent;
      if (this.#open.get(intent.intentSeq) !== intent)
        throw new TypeError("bytes are reserved while an intent is open");
      const refusal = this.#refusal();
      if (refusal !== null && refusal.reason !== "OVERLOADED") throw refusal;
      intent.reservedBytes += bytes;
      this.#spendings.reserve(intent.grantRef as Uint8Array, intent.body.scope, bytes);
      this.#reserving.push({ intent, resolve, reject });
      this.#committer.now();
    });
  }

  close(given: OpenIntent, closing: Closing): string {
    const intent = given as Intent;
    if (this.#open.get(intent.intentSeq) !== intent) {
      throw new TypeError("an intent is closed once, by its ledger");
    }
    this.#open.delete(intent.intentSeq);
    const { body, grantRef } = intent;
    if (grantRef !== null) {
      const { scope, intentSeq } = body;
      const [reserved, charged] = [intent.reservedBytes, closing.spentBytes];
      this.#spendings.close({ grantRef, scope, intentSeq, reserved, charged });
    }
    this.#append({
      receiptId: body.receiptId,
      kind: closing.verdict === "DENIED" ? "DENIAL" : "ACTION",
      verdict: closing.verdict,
      reason: closing.reason,
      scope: body.scope,
      leaseRef: body.leaseRef,
      manifestHash: body.manifestHash,
      openedAtUs: body.openedAtUs,
      // The clock may have been set back meanwhile; in a receipt time does not run backwards.
      closedAtUs: Math.max(body.openedAtUs, closing.closedAtUs),
      egressLastUs: closing.egressLastUs && Math.max(body.openedAtUs, closing.egressLastUs),
      intentSeq: body.intentSeq,
      count: 1,
      // What was refused after all was not merely observed.
      wouldDeny: closing.verdict === "DENIED" ? "UNSPECIFIED" : body.wouldDeny,
      spentBytes: closing.spentBytes,
      goal: body.goal,
      goalSalt: body.goalSalt,
      action: closing.action,
      evidence: closing.evidence,
      outcome: closing.outcome,
      claim: body.claim,
      claimSalt: body.claimSalt,
      claimCommitment: intent.claimCommitment,
      refers: null,
    });
    return body.receiptId;
  }

  record(draft: RecordDraft): string {
    const refusal = this.#refusal();
    if (refusal !== null) throw this.#refused(refusal);
    if (draft.kind === "DENIAL") return this.#denials.record(draft);
    const receiptId = this.#newReceiptId();
    this.#appendRecord(draft, receiptId, 1);
    return receiptId;
  }

  amend(draft: AmendDraft): Promise<string | null> {
    // One after the other: what a redaction leaves is made from what the one before it left.
    const turn = this.#amending.then(() => this.#amend(draft));
    this.#amending = turn.catch(() => undefined);
    return turn;
  }

  async #amend({ kind, seq, mask, ...facts }: AmendDraft): Promise<string | null> {
    const refusal = this.#refusal();
    if (refusal !== null) throw this.#refused(refusal);
    const [target] = this.#view.read(seq, 1);
    if (target === undefined) throw new TypeError(`there is no receipt ${seq}`);
    if (kind === "REDACTION" && !this.#view.isSealed(seq)) return null;
    const { crypto, salt, clock } = this.#parts;
    const receiptId = this.#newReceiptId();
    const nowUs = clock.nowUs();
    this.#append({
      ...facts,
      receiptId,
      kind,
      verdict: "UNSPECIFIED",
      reason: "UNSPECIFIED",
      scope: "",
      openedAtUs: nowUs,
      closedAtUs: nowUs,
      egressLastUs: 0,
      intentSeq: 0,
      count: 1,
      wouldDeny: "UNSPECIFIED",
      spentBytes: 0,
      goalSalt: salt(),
      evidence: NOTHING,
      claim: NOTHING,
      claimSalt: salt(),
      claimCommitment: null,
      refers: {
        hash: leafHash(crypto, SignedBytes.decode(target.signed).body),
        mask,
        rewrites: kind === "REDACTION" ? { seq, row: without(target.row, mask) } : null,
      },
    });
    await this.flushed();
    return receiptId;
  }

  flushed(): Promise<void> {
    this.#denials.flush();
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const { size } = this.#chain;
    if (this.#view.state.size >= size && this.#acknowledgedStored === this.#acknowledgedSeq) {
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      this.#flushing.push({ size, resolve, reject });
      this.#signing.hurry();
      this.#committer.now();
    });
  }

  // What it says of itself

  head(): LedgerHead {
    return this.#view.head();
  }

  stats(): LedgerStats {
    return {
      scopes: this.#counts.sorted(),
      openIntents: this.#open.size,
      oldestOpenedUs: this.#open.find((intent) => !intent.listens)?.openedMonotonicUs ?? null,
      health: this.#health(),
      lastReceiptId: this.#view.lastReceiptId,
      unacknowledged: this.#view.state.size - this.#acknowledgedSeq,
    };
  }

  spent(grantRef: Uint8Array, scope: string): Spent {
    return this.#spendings.of(grantRef, scope);
  }

  read(fromSeq: number, limit: number): StoredReceipt[] {
    return this.#view.read(fromSeq, limit);
  }

  headers(fromSeq: number, limit: number): StoredHeader[] {
    return this.#view.headers(fromSeq, limit);
  }

  openIntents(): Uint8Array[] {
    return this.#view.openIntents();
  }

  check(): Promise<Broken | null> {
    return this.#view.check();
  }

  get acknowledgedSeq(): number {
    return this.#acknowledgedSeq;
  }

  acknowledged(seq: number): void {
    if (seq <= this.#acknowledgedSeq || seq > this.#view.state.size) return;
    this.#acknowledgedSeq = seq;
    this.#committer.soon();
  }

  // Its own life

  /** Closes what a crash left open, in opening order, and resolves when all of it is durable. */
  async recover(intents: readonly Intent[], event: LifecycleEvent): Promise<void> {
    const { clock, refusals } = this.#parts;
    for (const intent of intents) {
      this.#open.add(intent.intentSeq, intent);
      this.#view.reopen(intent);
      this.close(intent, crashed(intent.reservedBytes, clock.nowUs()));
    }
    await this.#tell(event, `intents left open: ${intents.length}; refused: ${refusals.count}`);
  }

  async shutdown(): Promise<void> {
    try {
      if (this.#failure === null) {
        await this.#tell(
          "shutdown",
          `intents left open: ${this.#open.size}; refused: ${this.#parts.refusals.count}`,
        );
      }
    } finally {
      this.#committer.end();
      this.#failure ??= new LedgerUnavailable("LEDGER_UNAVAILABLE", "the ledger was shut down");
      await this.#parts.release();
    }
  }

  /** A LIFECYCLE receipt that tells of everything refused until now. */
  async #tell(event: LifecycleEvent, particulars: string): Promise<void> {
    const { clock, manifestHash, refusals } = this.#parts;
    const told = refusals.count;
    const draft = lifecycleDraft(event, particulars, manifestHash, clock.nowUs());
    this.#appendRecord(draft, this.#newReceiptId(), 1);
    await this.flushed();
    refusals.told(told);
  }

  // Receipts: chained, then signed, then durable

  #appendRecord(draft: RecordDraft, receiptId: string, count: number): void {
    const { salt, clock } = this.#parts;
    const { kind, openedAtUs } = draft;
    this.#append({
      ...draft,
      receiptId,
      verdict: kind === "DENIAL" ? "DENIED" : "UNSPECIFIED",
      closedAtUs: Math.max(openedAtUs, clock.nowUs()),
      egressLastUs: 0,
      intentSeq: 0,
      count,
      wouldDeny: "UNSPECIFIED",
      spentBytes: 0,
      goalSalt: salt(),
      claimSalt: salt(),
      claimCommitment: null,
      refers: null,
    });
  }

  #append(facts: Parameters<typeof makeReceipt>[3]): void {
    // What a failed ledger would chain, nobody could ever store.
    if (this.#failure !== null) return;
    const { crypto, salt } = this.#parts;
    this.#signing.push(makeReceipt(crypto, this.#chain, salt, facts));
  }

  #keepSigned(receipts: readonly Receipt[], signatures: readonly Uint8Array[]): void {
    this.#signed.push(...withSignatures(receipts, this.#parts.signer.publicKey, signatures));
    const waited = this.#waiting.length > 0 || this.#flushing.length > 0;
    if (waited) this.#committer.now();
    else this.#committer.soon();
  }

  /** One step: every intent that waits, every receipt that is signed. */
  async #commit(): Promise<() => void> {
    const opened = this.#waiting;
    const signed = this.#signed;
    const reserving = this.#reserving;
    const acknowledgedSeq = this.#acknowledgedSeq;
    const asked = opened.length + signed.length + reserving.length;
    if (asked === 0 && acknowledgedSeq === this.#acknowledgedStored) {
      return () => {};
    }
    this.#waiting = [];
    this.#signed = [];
    this.#reserving = [];
    this.#beingReserved = reserving;
    this.#beingWritten = opened;
    const after = this.#after(signed);
    for (const { receipt } of signed) {
      const { scope, verdict, count, intentSeq } = receipt.header;
      this.#counts.add(scope, verdict, count);
      this.#spendings.settle(intentSeq);
    }
    // A receipt that closes one of them comes in this step, where it is removed again, or later.
    const more = new Set(reserving.map(({ intent }) => intent));
    await this.#parts.store.commit({
      ...rowsOf(opened, signed, more),
      counts: this.#counts.changed(),
      spent: this.#spendings.take(),
      state: stateOf(after, this.#lastId, acknowledgedSeq),
    });
    return () => {
      this.#counts.settle();
      this.#view.advance(
        after,
        opened.map(({ intent }) => intent),
        signed.map(({ receipt }) => receipt),
      );
      this.#acknowledgedStored = acknowledgedSeq;
      this.#beingWritten = [];
      for (const waiting of opened) this.#durablyOpen(waiting);
      this.#beingReserved = [];
      for (const { resolve } of reserving) resolve();
      this.#settleFlushing();
    };
  }

  /**
   * All intents opened until now are in this step or stored before it, so the chain's intents stand
   * where the step leaves them; its receipts stand where the last signed one left them.
   */
  #after(signed: readonly SignedReceipt[]): ChainState {
    const { intentsOpened, intentsHead } = this.#chain.state();
    const receipts = signed.at(-1)?.receipt.after ?? this.#view.state;
    return { ...receipts, intentsOpened, intentsHead };
  }

  #durablyOpen({ intent, resolve }: Waiting): void {
    if (!intent.abandoned) {
      resolve(intent);
      return;
    }
    // Its caller was told no, so it stands in the record as refused.
    this.close(intent, refusedAfterAll(SLOW_DISK.message, this.#parts.clock.nowUs()));
  }

  #settleFlushing(): void {
    const { size } = this.#view.state;
    const done = this.#flushing.filter((f) => f.size <= size);
    this.#flushing = this.#flushing.filter((f) => f.size > size);
    for (const { resolve } of done) resolve();
  }

  // Refusing

  #refusal(): LedgerUnavailable | null {
    if (this.#failure !== null) return this.#failure;
    if (this.#committer.late) return SLOW_DISK;
    if (this.#signing.late) return SLOW_SIGNER;
    if (this.#open.size >= limits.openIntentsMax) {
      return new LedgerUnavailable("OVERLOADED", `${this.#open.size} actions are open at once`);
    }
    if (this.#signing.pending >= limits.unsignedReceiptsMax) {
      return new LedgerUnavailable(
        "OVERLOADED",
        `${this.#signing.pending} receipts wait for their signature`,
      );
    }
    return null;
  }

  #refused(refusal: LedgerUnavailable): LedgerUnavailable {
    this.#parts.refusals.add();
    return refusal;
  }

  #refuseWaiting(reason: LedgerUnavailable): void {
    for (const { reject } of [...this.#beingReserved, ...this.#reserving]) reject(reason);
    for (const { intent, reject } of [...this.#beingWritten, ...this.#waiting]) {
      if (intent.abandoned) continue;
      intent.abandoned = true;
      reject(this.#refused(reason));
    }
    this.#refuseFlushing(reason);
  }

  #refuseFlushing(reason: LedgerUnavailable): void {
    for (const { reject } of this.#flushing.splice(0)) reject(reason);
  }

  #fail(what: string, cause: unknown): void {
    if (this.#failure !== null) return;
    const why = cause instanceof Error ? cause.message : String(cause);
    this.#failure = new LedgerUnavailable("LEDGER_UNAVAILABLE", `${what}: ${why}`, { cause });
    this.#committer.end();
    this.#refuseWaiting(this.#failure);
    this.#tellFailed(this.#failure);
  }

  #health(): LedgerStats["health"] {
    if (this.#failure !== null) return NO_ROOM.test(this.#failure.message) ? "FULL" : "FAILED";
    // With as much open as may be it refuses as well, and is sound.
    return this.#refusal() === null ? "OK" : "SLOW";
  }

  #newReceiptId(): string {
    this.#lastId = newId("rcp", this.#parts.ids);
    return this.#lastId;
  }
}

/** A payload row with some of its fields no longer open. */
function without(row: Uint8Array, mask: number): Uint8Array {
  const { commitments, openings } = PayloadRow.decode(row);
  const left = openings.filter(({ field }) => (mask & (1 << (field - 1))) === 0);
  return PayloadRow.encode({ commitments, openings: left });
}

const NOTHING = new Uint8Array(0);
/** What a store says when the disk, or a quota on it, has no more room: errno's name, or that of LMDB. */
const NO_ROOM = /ENOSPC|EDQUOT|EFBIG|MDB_MAP_FULL|the disk is full/;
const SLOW_DISK = new LedgerUnavailable("LEDGER_UNAVAILABLE", "the disk is late");
const SLOW_SIGNER = new LedgerUnavailable("LEDGER_UNAVAILABLE", "the signer is late");
