import { toHex } from "../domain/bytes.ts";
import { openNote, parseCheckpoint } from "../domain/checkpoint.ts";
import type { Crypto } from "../domain/crypto.ts";
import { DIRECTIVE, type DirectiveBody } from "../domain/directive.ts";
import { remediesFor } from "../domain/intake.ts";
import { isInvalid } from "../domain/invalid.ts";
import { LEASE, type LeaseBody } from "../domain/lease.ts";
import type { TreeHead } from "../domain/merkle.ts";
import type { RecordBody } from "../domain/record.ts";
import { SignedBytes, type SignedKind } from "../domain/signed.ts";
import { refOf } from "../domain/signing.ts";
import { TRANSITION, type TransitionBody } from "../domain/transition.ts";
import type { Flags } from "./flags.ts";

interface Shown<T> {
  readonly body: T;
  readonly ref: Uint8Array;
}

/** What a section before the control ledger shows, as far as the control ledger has it too. */
export interface Compared {
  readonly id: string;
  readonly flags: Flags;
  /** Heads that its checkpoints, leases and heartbeats state. */
  readonly heads: readonly TreeHead[];
  readonly leases: readonly Shown<LeaseBody>[];
  /** In the order in which they were made. */
  readonly transitions: readonly Shown<TransitionBody>[];
}

/** An opened record's facts, and the thing itself. */
interface Opened {
  readonly record: RecordBody;
  readonly artifact: Uint8Array;
}

/** A directive that was recorded. */
interface Sent {
  readonly seq: number;
  readonly ledger: string;
  readonly kind: DirectiveBody["kind"];
}

/**
 * What the control plane's ledger says of the sections before it: which of their heads, leases and changes
 * of state it recorded, and in what order.
 */
export class Recorded {
  readonly #crypto: Crypto;
  readonly #others: readonly Compared[];
  /** By name, the seq of the record that has it; 0: none yet. */
  readonly #heads: Map<string, number>;
  readonly #seqs = new Map<string, number>();
  /** Refs of recorded changes of state, in order, by ledger. */
  readonly #states = new Map<string, string[]>();
  /** By their refs. */
  readonly #sent = new Map<string, Sent>();
  #opened = 0;

  constructor(crypto: Crypto, others: readonly Compared[]) {
    this.#crypto = crypto;
    this.#others = others;
    this.#heads = new Map(others.flatMap((o) => o.heads.map((h) => [headKey(o.id, h), 0])));
    for (const { id, leases, transitions } of others) {
      for (const { ref } of [...leases, ...transitions]) this.#seqs.set(toHex(ref), 0);
      this.#states.set(id, []);
    }
  }

  /** The next record that is open in both: what it is, and the thing. */
  take(seq: number, { record: { what }, artifact }: Opened): void {
    this.#opened++;
    if (what === "head") this.#head(seq, artifact);
    if (what === "lease") this.#first(seq, this.#refOf(LEASE, artifact).ref);
    if (what === "directive") this.#directive(seq, artifact);
    if (what !== "transition") return;
    const { ref, body } = this.#refOf(TRANSITION, artifact);
    this.#first(seq, ref);
    this.#states.get(toHex(body.ledgerId))?.push(ref);
  }

  #directive(seq: number, artifact: Uint8Array): void {
    const { ref, body } = this.#refOf(DIRECTIVE, artifact);
    this.#sent.set(ref, { seq, ledger: toHex(body.ledgerId), kind: body.kind });
  }

  #refOf<T>({ name, body }: SignedKind<T>, artifact: Uint8Array): { ref: string; body: T } {
    const signed = SignedBytes.decode(artifact);
    return { ref: toHex(refOf(this.#crypto, name, signed.body)), body: body.decode(signed.body) };
  }

  #first(seq: number, ref: string): void {
    if (this.#seqs.get(ref) === 0) this.#seqs.set(ref, seq);
  }

  /** What is recorded as a head is a note; of one that is none, nothing is remembered. */
  #head(seq: number, artifact: Uint8Array): void {
    const note = new TextDecoder().decode(artifact);
    const head = parseCheckpoint(note.slice(0, note.indexOf("\n\n") + 1));
    // Nobody's signature counts here: that it is a note at all is what is asked.
    const opened = openNote(this.#crypto, note, []);
    if (isInvalid(head) || (isInvalid(opened) && opened.code === "E_ENCODING")) return;
    const key = headKey(toHex(head.ledgerId), head);
    if (this.#heads.get(key) === 0) this.#heads.set(key, seq);
  }

  /** The record that has this lease or change of state; 0: none that is open. */
  seqOf(ref: Uint8Array): number {
    return this.#seqs.get(toHex(ref)) ?? 0;
  }

  /** Heads that a section states, each with the seq of its record. */
  headsOf(id: string): (TreeHead & { readonly seq: number })[] {
    const { heads = [] } = this.#others.find((o) => o.id === id) ?? {};
    const told = heads.map((h) => ({ ...h, seq: this.#heads.get(headKey(id, h)) ?? 0 }));
    return told.filter(({ seq }) => seq > 0);
  }

  /**
   * Tells of what the sections show and no open record has, and of changes of state that are recorded and
   * not shown. `firstSeq`: where the records begin. Returns how many stand there; nothing is asked where
   * no record is open.
   */
  compare(firstSeq: number): number {
    if (this.#opened === 0) return 0;
    return this.#others.reduce(
      (n, o) => n + this.#leases(o, firstSeq) + this.#order(o, firstSeq),
      0,
    );
  }

  /** A lease is recorded after the head of this ledger that it pins. */
  #leases({ leases, flags }: Compared, firstSeq: number): number {
    const due = leases.filter(({ body }) => body.controlSize >= firstSeq - 1);
    const absent = due.filter(({ ref }) => this.seqOf(ref) === 0);
    for (const { body } of absent) flags.raise("UNRECORDED", body.leaseSeq);
    return due.length - absent.length;
  }

  #order({ id, transitions, flags }: Compared, firstSeq: number): number {
    const recorded = this.#states.get(id) ?? [];
    // Of a range, what was made before it begins may stand before it.
    const begun = transitions.findIndex(({ ref }) => toHex(ref) === recorded[0]);
    const shown = firstSeq === 1 ? transitions : transitions.slice(begun < 0 ? Infinity : begun);
    const alike =
      shown.length === recorded.length && shown.every(({ ref }, i) => toHex(ref) === recorded[i]);
    const differs = alike
      ? this.#unsent(id, shown)
      : `${shown.length} are shown, ${recorded.length} are recorded`;
    if (differs === null) return shown.length;
    flags.raise("STATES_DIFFER", null, differs);
    return 0;
  }

  /** A remedy that a change of state tells of, and that was not sent between it and the one before; null: none. */
  #unsent(id: string, shown: readonly Shown<TransitionBody>[]): string | null {
    for (const [i, { ref, body }] of shown.entries()) {
      const before = shown[i - 1];
      if (body.from !== "AUTOHEALING" || before?.body.to !== "AUTOHEALING") continue;
      const kinds = remediesFor(body.basis.treated);
      const [begunSeq, endedSeq] = [this.seqOf(before.ref), this.seqOf(ref)];
      for (const [n, directive] of body.basis.directives.entries()) {
        const sent = this.#sent.get(toHex(directive));
        const isMeant = sent?.ledger === id && sent.kind === kinds[n];
        if (isMeant && sent.seq > begunSeq && sent.seq < endedSeq) continue;
        return `no ${kinds[n] ?? "remedy"} is recorded that was sent for ${body.basis.treated}`;
      }
    }
    return null;
  }
}

const headKey = (ledger: string, { size, root }: TreeHead): string =>
  `${ledger}/${size}/${toHex(root)}`;
