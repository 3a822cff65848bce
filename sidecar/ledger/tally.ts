import type { Verdict } from "../../src/domain/receipt.ts";
import type { ScopeCounted, SpentRow } from "../../src/storage/ledger-store.ts";
import type { IntentDraft } from "./work-ledger.ts";

/**
 * What happened in each scope. Receipts count when they are written, and show once they are durable,
 * so that counts and head always speak of the same receipts.
 */
export class ScopeCounts {
  readonly #durable: Map<string, ScopeCounted>;
  #changed = new Map<string, ScopeCounted>();

  constructor(rows: readonly ScopeCounted[]) {
    this.#durable = new Map(rows.map((row) => [row.scope, row]));
  }

  add(scope: string, verdict: Verdict, count: number): void {
    const field = FIELD[verdict];
    if (field === null) return;
    const row = this.#changed.get(scope) ?? {
      ...(this.#durable.get(scope) ?? { scope, completed: 0, failed: 0, denied: 0 }),
    };
    row[field] += count;
    this.#changed.set(scope, row);
  }

  /** Rows to write with the step that is being made. */
  changed(): ScopeCounted[] {
    return [...this.#changed.values()];
  }

  /** That step is durable. */
  settle(): void {
    for (const [scope, row] of this.#changed) this.#durable.set(scope, row);
    this.#changed = new Map();
  }

  sorted(): ScopeCounted[] {
    return [...this.#durable.values()].sort((a, b) => (a.scope < b.scope ? -1 : 1));
  }
}

/** An action of unknown or cut-off outcome did not complete: it counts as failed. */
const FIELD = {
  UNSPECIFIED: null,
  COMPLETED: "completed",
  FAILED: "failed",
  CUT: "failed",
  INDETERMINATE: "failed",
  DENIED: "denied",
} as const satisfies Record<Verdict, keyof ScopeCounted | null>;

/**
 * What was spent under each grant. It shows at once, before it is durable: two opens in one turn must
 * not both take the last action. What is stored is what a crash would leave: intents count with the
 * step that stores them, and bytes that were given back only with the receipt that says so, for
 * without it all that was reserved is charged.
 */
export class Spendings {
  readonly #rows: Map<string, SpentRow>;
  readonly #changed = new Set<SpentRow>();
  /** Bytes given back, of intents whose receipt is not being stored yet. */
  readonly #returned = new Map<number, { readonly row: SpentRow; readonly bytes: number }>();

  constructor(rows: readonly SpentRow[]) {
    this.#rows = new Map(rows.map((row) => [nameOf(row.grantRef, row.scope), row]));
  }

  /** An action is opened. */
  open({ grantRef, scope, reservedBytes, recent }: Opening): void {
    const row = this.of(grantRef, scope);
    row.actions += 1;
    row.bytes += reservedBytes;
    row.recent = recent;
    this.#changed.add(row);
  }

  /** More bytes are reserved for it. */
  reserve(grantRef: Uint8Array, scope: string, bytes: number): void {
    const row = this.of(grantRef, scope);
    row.bytes += bytes;
    this.#changed.add(row);
  }

  /** It ended, and did not need so many of them. */
  giveBack(grantRef: Uint8Array, scope: string, intentSeq: number, bytes: number): void {
    if (bytes === 0) return;
    const row = this.of(grantRef, scope);
    row.bytes -= bytes;
    this.#returned.set(intentSeq, { row, bytes });
  }

  /** Its receipt is in the step that is being made. */
  settle(intentSeq: number): void {
    const returned = this.#returned.get(intentSeq);
    if (returned === undefined) return;
    this.#returned.delete(intentSeq);
    this.#changed.add(returned.row);
  }

  /** The row itself: it goes on telling. */
  of(grantRef: Uint8Array, scope: string): SpentRow {
    const name = nameOf(grantRef, scope);
    let row = this.#rows.get(name);
    if (row === undefined) {
      row = { grantRef, scope, actions: 0, bytes: 0, recent: 0 };
      this.#rows.set(name, row);
    }
    return row;
  }

  /** Rows to write with the step that is being made. */
  take(): SpentRow[] {
    if (this.#changed.size === 0) return [];
    const rows = new Map([...this.#changed].map((row) => [row, { ...row }]));
    this.#changed.clear();
    for (const { row, bytes } of this.#returned.values()) {
      const stored = rows.get(row);
      if (stored !== undefined) stored.bytes += bytes;
    }
    return [...rows.values()];
  }
}

type Opening = Pick<IntentDraft, "grantRef" | "scope" | "reservedBytes" | "recent">;

/** On the path of every action, so not through hex. */
const nameOf = (grantRef: Uint8Array, scope: string): string =>
  Buffer.from(grantRef.buffer, grantRef.byteOffset, grantRef.length).toString("latin1") + scope;
