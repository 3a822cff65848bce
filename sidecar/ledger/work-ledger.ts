import type { Infer } from "../../src/domain/canonical.ts";
import type { Claim } from "../../src/domain/claim.ts";
import type { ScopeCount } from "../../src/domain/heartbeat.ts";
import type { Reason } from "../../src/domain/reason.ts";
import type { Verdict } from "../../src/domain/receipt.ts";
import type { Broken } from "../../src/storage/ledger-check.ts";

/**
 * The memory of one instance: every action is promised here before it is carried out (its intent is
 * durable), and told here once it has ended (one signed, chained receipt).
 *
 * Durability: what `open` resolved is on disk. What `close` and `record` returned is on disk, and
 * signed, within about 20 ms, or at once after `flushed()`; a crash in between leaves the intent
 * open, and the next start closes it as INDETERMINATE. Heads, reads and counts speak only of what is
 * durable and signed.
 *
 * Failure: a slow disk, a full backlog or a signer that is late refuse new work until they catch up.
 * A failed write or a dead signer ends the ledger: everything after it is refused at once, and
 * `failed` tells why; the process must exit, open the ledger again and let recovery speak.
 * Nothing here waits for ever.
 */
export interface WorkLedger {
  /** ref(genesis), 32 bytes. */
  readonly ledgerId: Uint8Array;
  /** Durable and signed: what may be sent, cosigned and exported. */
  head(): LedgerHead;
  /**
   * Promises one action. Resolves when its intent is durable; only then may anything be forwarded.
   * @throws LedgerUnavailable (as a rejection) at once when full, late or failed, and when the write
   * takes longer than its deadline. An intent that becomes durable after its deadline is closed here.
   */
  open(draft: IntentDraft): Promise<OpenIntent>;
  /**
   * Reserves a further block of bytes for an open intent: it counts from this call on, and is durable
   * when this resolves. Until then none of it may pass.
   * @throws LedgerUnavailable (as a rejection), as `open` does.
   */
  reserve(intent: OpenIntent, bytes: number): Promise<void>;
  /**
   * Tells how a promised action ended. Exactly once for each intent, and it cannot be refused.
   * DENIED makes a DENIAL, everything else an ACTION. Returns the intent's receipt id.
   */
  close(intent: OpenIntent, closing: Closing): string;
  /**
   * A receipt without an intent. Denials that are identical (claim, reason, scope, lease, manifest)
   * within a second of the first are counted in one further receipt, whose id they all get.
   * Returns the receipt id.
   * @throws LedgerUnavailable at once, as `open` rejects.
   */
  record(draft: RecordDraft): string;
  /**
   * Speaks of an earlier, durable receipt in a further one. Resolves with its id when it is durable and
   * signed; of a redaction, when the key of what it names is overwritten as well. null: that payload is not
   * sealed, and nothing was done.
   * @throws LedgerUnavailable (as a rejection), as `open` does; TypeError when there is no such receipt.
   */
  amend(draft: AmendDraft): Promise<string | null>;
  /** Resolves when everything closed or recorded so far is durable and signed. */
  flushed(): Promise<void>;
  /** Cheap: for heartbeats. */
  stats(): LedgerStats;
  /** What was spent under a grant in a scope by everything ever opened here, restarts included. */
  spent(grantRef: Uint8Array, scope: string): Spent;
  /** Durable receipts from `fromSeq` upwards, at most `limit`. */
  read(fromSeq: number, limit: number): StoredReceipt[];
  /** The same without payload rows, for the control plane: headers leave the tenant, payloads never. */
  headers(fromSeq: number, limit: number): StoredHeader[];
  /** Durable intents that have no receipt yet, in opening order: encoded IntentBody rows. */
  openIntents(): Uint8Array[];
  /**
   * Verifies everything durable: signatures, links, commitments, tree and intents. null: it holds.
   * Works in steps of a few milliseconds between which actions go on.
   */
  check(): Promise<Broken | null>;
  /**
   * The control plane holds everything up to `seq`. Durable soon; never goes back. More than there
   * is says nothing and is ignored: it comes from outside.
   */
  acknowledged(seq: number): void;
  /** Up to where the control plane has acknowledged. */
  readonly acknowledgedSeq: number;
  /** Resolves with the reason once the ledger has failed for good. The process must then exit 70. */
  readonly failed: Promise<LedgerUnavailable>;
  /** Writes the shutdown receipt, flushes, releases the lock. Nothing may be called afterwards. */
  shutdown(): Promise<void>;
}

export interface LedgerHead {
  readonly size: number;
  /** RFC 6962 root over the first `size` receipts. */
  readonly root: Uint8Array;
  readonly intentsOpened: number;
  /** I at intentsOpened. */
  readonly intentsHead: Uint8Array;
}

export interface IntentDraft {
  readonly claim: Claim;
  /** It lasts for as long as either side likes, and nobody waits for its end. */
  readonly listens: boolean;
  /** Encoded GoalBody. */
  readonly goal: Uint8Array;
  /** ref(grant): what is spent is counted under it. */
  readonly grantRef: Uint8Array;
  readonly leaseRef: Uint8Array;
  readonly manifestHash: Uint8Array;
  readonly scope: string;
  /** What it would have been refused for, were it not merely observed; UNSPECIFIED: it is allowed. */
  readonly wouldDeny: Reason;
  readonly openedAtUs: number;
  /** Body bytes reserved for it from the start; 0 where the lease limits none. */
  readonly reservedBytes: number;
  /** Openings of the minute that ends with this one, where the lease limits their rate; else 0. */
  readonly recent: number;
}

/** A durable promise. Give it back to `close`, once. */
export interface OpenIntent {
  readonly receiptId: string;
  /** From 1, in opening order. */
  readonly intentSeq: number;
  readonly openedAtUs: number;
}

export interface Closing {
  readonly verdict: Exclude<Verdict, "UNSPECIFIED">;
  readonly reason: Reason;
  readonly closedAtUs: number;
  /** 0: nothing was forwarded. */
  readonly egressLastUs: number;
  /** Body bytes charged to the scope, in place of what was reserved; 0 where its lease limits none. */
  readonly spentBytes: number;
  /** Encoded ActionBody, EvidenceBody and OutcomeBody; empty: there was none. */
  readonly action: Uint8Array;
  readonly evidence: Uint8Array;
  readonly outcome: Uint8Array;
}

export interface RecordDraft {
  readonly kind: "DENIAL" | "LIFECYCLE";
  readonly reason: Reason;
  /** Name of the scope that came nearest; empty: none. */
  readonly scope: string;
  /** Empty: there was no lease. */
  readonly leaseRef: Uint8Array;
  readonly manifestHash: Uint8Array;
  /** Encoded ClaimBody; empty: there was none to read. */
  readonly claim: Uint8Array;
  readonly goal: Uint8Array;
  readonly action: Uint8Array;
  readonly evidence: Uint8Array;
  readonly outcome: Uint8Array;
  readonly openedAtUs: number;
}

export interface AmendDraft {
  readonly kind: "CORRECTION" | "REDACTION";
  /** Of the receipt that it speaks of. */
  readonly seq: number;
  /** Fields to redact, bit f−1; 0 for a correction. */
  readonly mask: number;
  /** A lease of this ledger, held or not. */
  readonly leaseRef: Uint8Array;
  readonly manifestHash: Uint8Array;
  /** Encoded GoalBody, ActionBody and OutcomeBody: who wants what, and what is said of it. */
  readonly goal: Uint8Array;
  readonly action: Uint8Array;
  readonly outcome: Uint8Array;
}

export interface StoredHeader {
  readonly seq: number;
  /** SignedBytes of the receipt, as signed. */
  readonly signed: Uint8Array;
}

export interface StoredReceipt extends StoredHeader {
  /** Encoded PayloadRow: its commitments, and the openings that the tenant kept. */
  readonly row: Uint8Array;
}

/** Goes on telling: what is opened, reserved and closed from now on shows in it at once. */
export interface Spent {
  readonly actions: number;
  /** Charged, and reserved for what is open. */
  readonly bytes: number;
  /** Of these, what is reserved for what is open. */
  readonly reserved: number;
  /** Openings of the minute that ended with the last one, where they are counted. */
  readonly recent: number;
}

export interface LedgerStats {
  /** Since the ledger began, of durable receipts. Sorted by scope. */
  readonly scopes: Infer<typeof ScopeCount>[];
  readonly openIntents: number;
  /** When the oldest open intent that does not merely listen was opened, by the monotonic clock; null: none is open. */
  readonly oldestOpenedUs: number | null;
  readonly health: "OK" | "SLOW" | "FULL" | "FAILED";
  /** Id of the last receipt that is durable; empty: none yet. */
  readonly lastReceiptId: string;
  /** Durable receipts that the control plane has not acknowledged. */
  readonly unacknowledged: number;
}

/** The ledger cannot take this promise now. Rendered as the reason it carries. */
export class LedgerUnavailable extends Error {
  override readonly name = "LedgerUnavailable";
  readonly reason: "LEDGER_UNAVAILABLE" | "OVERLOADED";
  constructor(
    reason: "LEDGER_UNAVAILABLE" | "OVERLOADED",
    detail: string,
    options?: { cause: unknown },
  ) {
    super(detail, options);
    this.reason = reason;
  }
}
