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
  readonly #rows: Map<string, LiveRow>;
  readonly #changed = new Set<LiveRow>();
  /** Bytes given back, of intents whose receipt is not being stored yet. */
  readonly #returned = new Map<number, { readonly row: LiveRow; readonly bytes: number }>();

  constructor(rows: readonly SpentRow[]) {
    this.#rows = new Map(
      rows.map((row) => [nameOf(row.grantRef, row.scope), { ...row, reserved: 0 }]),
    );
  }

  /** An action is opened. */
  open({ grantRef, scope, reservedBytes, recent }: Opening): void {
    const row = this.of(grantRef, scope);
    row.actions += 1;
    row.bytes += reservedBytes;
    row.reserved += reservedBytes;
    row.recent = recent;
    this.#changed.add(row);
  }

  /** More bytes are reserved for it. */
  reserve(grantRef: Uint8Array, scope: string, bytes: number): void {
    const row = this.of(grantRef, scope);
    row.bytes += bytes;
    row.reserved += bytes;
    this.#changed.add(row);
  }

  /** It ended: so many bytes are charged of those that were reserved, and the rest is given back. */
  close({ grantRef, scope, intentSeq, reserved, charged }: Closed): void {
    if (reserved === 0 && charged === 0) return;
    const row = this.of(grantRef, scope);
    row.reserved -= reserved;
    row.bytes += charged - reserved;
    this.#returned.set(intentSeq, { row, bytes: reserved - charged });
  }

  /** Its receipt is in the step that is being made. */
  settle(intentSeq: number): void {
    const returned = this.#returned.get(intentSeq);
    if (returned === undefined) return;
    this.#returned.delete(intentSeq);
    this.#changed.add(returned.row);
  }

  /** The row itself: it goes on telling. */
  of(grantRef: Uint8Array, scope: string): LiveRow {
    const name = nameOf(grantRef, scope);
    let row = this.#rows.get(name);
    if (row === undefined) {
      row = { grantRef, scope, actions: 0, bytes: 0, recent: 0, reserved: 0 };
      this.#rows.set(name, row);
    }
    return row;
  }

  /** Rows to write with the step that is being made. */
  take(): SpentRow[] {
    if (this.#changed.size === 0) return [];
    const rows = new Map<LiveRow, SpentRow>();
    for (const row of this.#changed) {
      const { grantRef, scope, actions, bytes, recent } = row;
      rows.set(row, { grantRef, scope, actions, bytes, recent });
    }
    this.#changed.clear();
    for (const { row, bytes } of this.#returned.values()) {
      const stored = rows.get(row);
      if (stored !== undefined) stored.bytes += bytes;
    }
    return [...rows.values()];
  }
}

/** With what of its bytes is reserved for open actions; nothing is when a process begins. */
type LiveRow = SpentRow & { reserved: number };

interface Closed {
  readonly grantRef: Uint8Array;
  readonly scope: string;
  readonly intentSeq: number;
  readonly reserved: number;
  readonly charged: number;
}

type Opening = Pick<IntentDraft, "grantRef" | "scope" | "reservedBytes" | "recent">;

/** On the path of every action, so not through hex. */
const nameOf = (grantRef: Uint8Array, scope: string): string =>
  Buffer.from(grantRef.buffer, grantRef.byteOffset, grantRef.length).toString("latin1") + scope;
