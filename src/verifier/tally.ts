import { PAYLOAD_FIELDS } from "../domain/payload.ts";
import type { CheckName } from "./checks.ts";
import type { ControlLedger, ProvenRecord } from "./control-ledger.ts";
import type { WorkLedger } from "./ledger.ts";
import type { Disclosed } from "./payload.ts";
import type { Proven } from "./receipts.ts";
import type { Ledger } from "./verify.ts";

/** What receipts of one ledger say was done, in numbers. Denials count what they stand for. */
export interface Counts {
  receipts: number;
  completed: number;
  failed: number;
  cut: number;
  indeterminate: number;
  /** Of all these actions, those that no scope allowed. */
  observed: number;
  denied: number;
  lifecycle: number;
  corrections: number;
  /** Of a control ledger: what was recorded. */
  records: number;
  decisionsSame: number;
  decisionsNotReproducible: number;
  decisionsUnshown: number;
}

const noCounts = (): Counts => ({
  receipts: 0,
  completed: 0,
  failed: 0,
  cut: 0,
  indeterminate: 0,
  observed: 0,
  denied: 0,
  lifecycle: 0,
  corrections: 0,
  records: 0,
  decisionsSame: 0,
  decisionsNotReproducible: 0,
  decisionsUnshown: 0,
});

const EVERY_RECEIPT: readonly CheckName[] = [
  "RECEIPT_ENCODING",
  "RECEIPT_OWNER",
  "RECEIPT_SIGNATURE",
  "SEQUENCE",
  "CHAIN",
  "ID",
  "TIME",
  "SHAPE",
  "RECEIPT_MANIFEST",
];

const IN_CHAIN: ReadonlySet<CheckName> = new Set(["SEQUENCE", "CHAIN"]);

/** How often each check was made and held, so that nothing passes which was never looked at. */
export class Tally {
  readonly #checks = new Map<CheckName, number>();
  readonly #counts = new Map<string, Counts>();

  add(check: CheckName, times = 1): void {
    if (times > 0) this.#checks.set(check, this.of(check) + times);
  }

  of(check: CheckName): number {
    return this.#checks.get(check) ?? 0;
  }

  counts(ledger: string): Counts {
    return this.#counts.get(ledger) ?? noCounts();
  }

  preamble(ledger: Ledger): void {
    this.add("GENESIS");
    this.add("CHECKPOINT", ledger.heads.length);
    if (ledger.role === "CONTROL") {
      this.add("KEYSET", ledger.keysets);
      return;
    }
    const { line, heartbeats, transitions } = ledger;
    const { keysets, manifests, grants, docks, leases, revocations } = line.authority;
    this.add("KEYSET", keysets.size);
    this.add("MANIFEST", manifests.size);
    this.add("GRANT", grants.size);
    this.add("DOCK", docks.size);
    this.add("LEASE", leases.size);
    this.add("REVOCATION", revocations.length);
    this.add("HEARTBEAT", heartbeats.length);
    this.add("TRANSITION", transitions.length);
  }

  record(ledger: ControlLedger, { disclosed }: ProvenRecord): void {
    for (const check of EVERY_RECEIPT) if (check !== "RECEIPT_MANIFEST") this.add(check);
    if (disclosed.claimCommitment !== null) this.add("PAYLOAD");
    this.add("CONTENT", shownFields(disclosed));
    const counts = this.#of(ledger.id);
    counts.receipts++;
    counts.records++;
  }

  /** A receipt that is shown by itself: of its place in the chain nothing was asked. */
  single(ledger: WorkLedger, proven: Proven): void {
    const { header, disclosed, decision } = proven;
    for (const check of EVERY_RECEIPT) if (!IN_CHAIN.has(check)) this.add(check);
    this.add("INCLUSION");
    this.#says(proven);
    this.#count(ledger, header, decision);
    this.#unshown(ledger, header, disclosed);
  }

  receipt(ledger: WorkLedger, proven: Proven): void {
    const { header, contents, disclosed, decision } = proven;
    for (const check of EVERY_RECEIPT) this.add(check);
    this.#says(proven);
    if (header.intentSeq > 0) this.add("INTENT");
    if (header.intentSeq > 0 && contents.claim !== null) this.add("LIMITS");
    if (header.refersTo.length > 0) this.add("REFERENCE");
    this.#count(ledger, header, decision);
    this.#unshown(ledger, header, disclosed);
  }

  #says({ header, contents, disclosed, decision }: Proven): void {
    if (disclosed.claimCommitment !== null) this.add("PAYLOAD");
    if (header.kind === "ACTION") this.add("COVERAGE");
    this.add("CONTENT", shownFields(disclosed));
    if (contents.claim !== null) this.add("CLAIM");
    if (decision === "SAME") this.add("DECISION");
  }

  #unshown({ line }: WorkLedger, { kind, seq }: Proven["header"], { data }: Disclosed): void {
    const decided = kind === "ACTION" || kind === "DENIAL";
    if (decided && data.claim === null) line.flags.raise("SCOPE_UNSHOWN", seq);
  }

  #count(ledger: WorkLedger, header: Proven["header"], decision: Proven["decision"]): void {
    const counts = this.#of(ledger.id);
    counts.receipts++;
    if (header.wouldDeny !== "UNSPECIFIED") counts.observed++;
    if (header.kind === "DENIAL") counts.denied += header.count;
    else if (header.kind === "LIFECYCLE") counts.lifecycle++;
    else if (header.kind !== "ACTION") counts.corrections++;
    else if (header.verdict === "COMPLETED") counts.completed++;
    else if (header.verdict === "FAILED") counts.failed++;
    else if (header.verdict === "CUT") counts.cut++;
    else counts.indeterminate++;
    if (decision === "SAME") counts.decisionsSame++;
    if (decision === "NOT_REPRODUCIBLE") counts.decisionsNotReproducible++;
    if (decision === "UNSHOWN") counts.decisionsUnshown++;
  }

  #of(ledger: string): Counts {
    const counts = this.#counts.get(ledger) ?? noCounts();
    this.#counts.set(ledger, counts);
    return counts;
  }

  /** A ledger came to its end and everything added up. */
  closed(ledger: Ledger): void {
    if (ledger.role === "CONTROL") {
      this.add("TAIL");
      this.add("RECORDED", ledger.recorded.compare(ledger.line.firstSeq));
      return;
    }
    this.add("REFERENCED");
    if (ledger.singles.length > 0) return;
    this.add("TAIL");
    this.add("OPEN_INTENTS");
  }
}

const shownFields = ({ data }: Proven["disclosed"]): number =>
  PAYLOAD_FIELDS.filter((f) => data[f] !== null).length;
