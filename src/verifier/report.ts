import { toHex } from "../domain/bytes.ts";
import type { Agreement } from "../domain/history.ts";
import type { Bracket } from "./brackets.ts";
import { type CosignedHead, isWitnessed } from "./checkpoints.ts";
import { type Break, CHECKS, type CheckCode, type CheckName } from "./checks.ts";
import type { ControlLedger } from "./control-ledger.ts";
import type { Flag, Flags } from "./flags.ts";
import type { Inactivity } from "./inactivity.ts";
import type { WorkLedger } from "./ledger.ts";
import type { Salvage } from "./salvage.ts";
import { saysWhat } from "./sentences.ts";
import type { Counts, Tally } from "./tally.ts";
import type { TrustFile } from "./trust-file.ts";
import type { Ledger } from "./verify.ts";
import type { Supposition, WhatIf } from "./what-if.ts";
import { NO_WORK, workReport } from "./work-report.ts";

/** Never a bare "valid": how much is proven is part of the answer. */
export type Verdict = "BROKEN" | "INTACT" | "PROVEN" | "ANCHORED" | "WITNESSED";

export type CheckStatus = "PASS" | "FAIL" | "NOT CHECKABLE OFFLINE" | "NOT REACHED";

export interface CheckLine {
  readonly number: number;
  readonly name: CheckName;
  readonly says: string;
  readonly status: CheckStatus;
  /** How many things were looked at and held. */
  readonly held: number;
}

/** Stable JSON: fields are only ever added under this format. Times are microseconds, hashes hex. */
export interface Report {
  readonly format: "dragons report 0";
  readonly verdict: Verdict;
  /** A trust file was given. Without one nothing here is on anybody's word but the pack's. */
  readonly pinned: boolean;
  readonly tenant: string;
  readonly broken: BrokenAt | null;
  /** Of the section that broke, what is proven all the same; null: nothing broke, or nothing can be said. */
  readonly salvage: Salvage | null;
  /** null: nothing was supposed. */
  readonly whatIf: WhatIf | null;
  readonly flags: readonly Flag[];
  readonly checks: readonly CheckLine[];
  readonly ledgers: readonly LedgerReport[];
  /** Plain sentences, most important first. */
  readonly findings: readonly string[];
  readonly proves: readonly string[];
  readonly doesNotProve: readonly string[];
}

export interface BrokenAt {
  readonly code: CheckCode;
  readonly check: CheckName;
  /** The seq that was due; 0: the pack itself. */
  readonly index: number;
  /** Hex id of the ledger; empty: none was open yet. */
  readonly ledger: string;
  readonly first_bad: number;
  readonly suspect: number;
  /** Nothing from this seq on may be relied on. */
  readonly untrusted_from: number;
  readonly detail: string;
  /**
   * Hex: the hash as something signed states it, and as it comes out of what the pack shows. Of a receipt
   * that fails by itself: as the receipt after it carries it, and as it is. null: no hashes differ.
   */
  readonly expected: string | null;
  readonly found: string | null;
}

export interface LedgerReport {
  readonly ledger: string;
  /** CONTROL: the control plane's own; it has no instance, manifest, lease or state. */
  readonly role: "WORK" | "CONTROL";
  readonly instanceId: string;
  readonly manifest: string;
  readonly manifestHash: string;
  readonly ledgerKey: string;
  readonly verdict: Exclude<Verdict, "BROKEN">;
  /** Seqs shown, inclusive; `to` < `from`: none. */
  readonly from: number;
  readonly to: number;
  /** Size and root of the tree that they were proven to stand in. */
  readonly size: number;
  readonly root: string;
  readonly anchor: AnchorReport | null;
  /** The largest head that the auditor's quorum of witnesses stands behind; 0: none. */
  readonly witnessedSize: number;
  readonly counts: Counts;
  readonly openIntents: readonly OpenIntentReport[];
  readonly grants: readonly GrantReport[];
  readonly leases: readonly LeaseReport[];
  readonly states: readonly StateReport[];
  readonly heartbeats: number;
  /** Whether the states follow from what they cite, decided anew. */
  readonly history: HistoryReport;
  /** Times in which nothing was begun, as heartbeats prove them. */
  readonly idle: readonly Inactivity[];
  /** Between which times, by others' clocks, the receipts were made. */
  readonly brackets: readonly Bracket[];
  /** Heads smaller than what is shown begins with: not checkable from this pack. */
  readonly headsBefore: number;
  /** Two lease lifetimes: history could be hidden no longer than this. 0: no lease is shown. */
  readonly hiddenAtMostUs: number;
}

export interface AnchorReport {
  readonly size: number;
  readonly root: string;
  readonly cosignedAtUs: number;
  readonly witnesses: readonly string[];
}
export interface OpenIntentReport {
  readonly intentSeq: number;
  readonly receiptId: string;
  readonly openedAtUs: number;
  readonly leaseRef: string;
  readonly claimCommitment: string;
}
export interface GrantReport {
  readonly grantId: string;
  readonly ref: string;
  readonly purpose: string;
  /** Hex keys of the operators that signed it. */
  readonly signedBy: readonly string[];
}
export interface LeaseReport {
  readonly leaseId: string;
  readonly ref: string;
  readonly leaseSeq: number;
  readonly grantRef: string;
  readonly scopes: readonly string[];
  readonly notBeforeUs: number;
  readonly notAfterUs: number;
  readonly headSize: number;
  /** The seq at which the control plane's ledger has it; 0: in no open record of this pack. */
  readonly recordedSeq: number;
}
export interface StateReport {
  readonly atUs: number;
  readonly from: string;
  readonly to: string;
  readonly cause: string;
  readonly condition: string;
  /** See LeaseReport. */
  readonly recordedSeq: number;
}

export interface HistoryReport {
  /** NONE: no change of state is shown. */
  readonly agreement: Agreement | "NONE";
  /** From the birth on: the first change leads out of DOCKED. */
  readonly whole: boolean;
  /** Those that differ or cannot be decided again, in their order. */
  readonly objections: readonly {
    readonly atUs: number;
    readonly to: string;
    readonly why: string;
  }[];
}

export interface Findings {
  readonly fault: Break | null;
  readonly salvage: Salvage | null;
  readonly supposition: Supposition | null;
  readonly trust: TrustFile | null;
  readonly tenant: string;
  /** Of the ledger that was being read; empty: none. */
  readonly ledgerId: string;
  readonly ledgers: readonly Ledger[];
  readonly flags: Flags;
  readonly tally: Tally;
  readonly nowUs: number;
}

export function writeReport(found: Findings): Report {
  const { fault, trust, tenant, flags } = found;
  const ledgers = found.ledgers.map((l) => ledgerReport(l, found));
  if (trust?.knownHead && fault === null) {
    const id = toHex(trust.knownHead.ledgerId);
    if (!ledgers.some((l) => l.ledger === id)) flags.raise("KNOWN_HEAD_UNUSED");
  }
  const brokenAt = fault && brokenReport(fault, found.ledgerId);
  const report = {
    format: "dragons report 0" as const,
    verdict: fault ? ("BROKEN" as const) : overall(ledgers),
    pinned: trust !== null,
    tenant,
    broken: brokenAt,
    salvage: found.salvage,
    whatIf: found.supposition?.report() ?? null,
    flags: [...flags.list(""), ...found.ledgers.flatMap((l) => l.line.flags.list(l.id))],
    checks: checkLines(found, ledgers),
    ledgers,
  };
  return { ...report, ...saysWhat(report) };
}

/**
 * What a program that verifies should exit with: 0 anchored or witnessed, 2 broken, 3 intact or proven only,
 * 78 without a trust file, whatever else was found. (64, usage, is the command line's own.)
 */
export function exitCodeOf({
  pinned,
  verdict,
}: Pick<Report, "pinned" | "verdict">): 0 | 2 | 3 | 78 {
  if (!pinned) return 78;
  if (verdict === "BROKEN") return 2;
  return verdict === "INTACT" || verdict === "PROVEN" ? 3 : 0;
}

function overall(ledgers: readonly LedgerReport[]): Verdict {
  const least = (["INTACT", "PROVEN", "ANCHORED"] as const).find((v) =>
    ledgers.some((l) => l.verdict === v),
  );
  return least ?? "WITNESSED";
}

function brokenReport(fault: Break, ledger: string): BrokenAt {
  const { code, check, index, suspect, detail, differing } = fault;
  return {
    code,
    check,
    index,
    // A fault of framing is the file's, whichever section was being read.
    ledger: check === "FRAMES" ? "" : ledger,
    first_bad: index,
    suspect,
    untrusted_from: index === 0 ? 1 : suspect,
    detail,
    expected: differing && toHex(differing.expected),
    found: differing && toHex(differing.found),
  };
}

function checkLines(
  { fault, ledgers, tally }: Findings,
  reports: readonly LedgerReport[],
): CheckLine[] {
  const heads = ledgers.reduce((n, { line }) => n + line.tree.met, 0);
  const intents = ledgers.reduce((n, l) => n + (l.role === "WORK" ? l.line.intents.proven : 0), 0);
  return (Object.keys(CHECKS) as CheckName[]).map((name) => {
    const { number, says } = CHECKS[name];
    if (name === "HISTORY") return historyLine(reports, fault);
    const held = name === "HEADS" ? heads : name === "INTENT_CHAIN" ? intents : tally.of(name);
    const untouched = fault ? "NOT REACHED" : "NOT CHECKABLE OFFLINE";
    const failed = fault?.check === name || (name === "RECORDED" && ledgers.some(isUnrecorded));
    const status = failed ? "FAIL" : held > 0 ? "PASS" : untouched;
    return { number, name, says, status, held };
  });
}

/** Breaks nothing either: a crash may cost the control plane a record of what it had signed and told. */
const isUnrecorded = ({ line: { flags } }: Ledger): boolean =>
  flags.has("UNRECORDED") || flags.has("STATES_DIFFER");

/** The one check that breaks nothing: what a control plane recorded of states is its own word. */
function historyLine(ledgers: readonly LedgerReport[], fault: Break | null): CheckLine {
  const { number, says } = CHECKS.HISTORY;
  const worst = (["DIFFERS", "UNSHOWN", "AGREES"] as const).find((a) =>
    ledgers.some((l) => l.history.agreement === a),
  );
  const untouched = fault ? "NOT REACHED" : "NOT CHECKABLE OFFLINE";
  const status = worst === "DIFFERS" ? "FAIL" : worst === "AGREES" ? "PASS" : untouched;
  const held = ledgers.reduce((n, l) => n + l.states.length - l.history.objections.length, 0);
  return { number, name: "HISTORY", says, status, held };
}

/** The control plane's own ledger; null: the pack does not show it. */
const controlOf = ({ ledgers }: Findings): ControlLedger | null =>
  ledgers.find((l): l is ControlLedger => l.role === "CONTROL") ?? null;

/**
 * Heads of a ledger that others signed: in checkpoints of its own, or by what the control plane recorded of it
 * under a checkpoint of the control plane's ledger.
 */
function headsOf({ heads, id, role }: Ledger, found: Findings): CosignedHead[] {
  const control = controlOf(found);
  if (control === null || role === "CONTROL") return [...heads];
  const { trust } = found;
  const under = control.heads.filter((h) => h.size <= control.line.tree.size);
  const recorded = control.recorded.headsOf(id).flatMap(({ seq, size, root }) => {
    const over = under.filter((h) => h.size >= seq).sort((a, b) => a.size - b.size);
    const by = over.find((h) => isWitnessed(h, trust)) ?? over[0];
    return by === undefined ? [] : [{ ...by, size, root }];
  });
  // Of two that are alike, the ledger's own tells more: it comes last.
  return [...recorded, ...heads];
}

function ledgerReport(ledger: Ledger, found: Findings): LedgerReport {
  const { trust, tally, fault, nowUs } = found;
  const { line, id, role } = ledger;
  const met = headsOf(ledger, found)
    .filter((h) => h.size >= line.firstSeq && h.size <= line.tree.size)
    .filter((h) => h.cosignedAtUs > 0 || isWitnessed(h, trust));
  const anchor = met.reduce<CosignedHead | null>(
    (a, h) => (h.size >= (a?.size ?? 0) ? h : a),
    null,
  );
  const seen = met.filter((h) => isWitnessed(h, trust));
  const witnessedSize = seen.reduce((most, { size }) => Math.max(most, size), 0);
  const whole = witnessedSize > 0 ? "WITNESSED" : trust !== null && anchor ? "ANCHORED" : "INTACT";
  const singles = ledger.role === "WORK" ? ledger.singles : [];
  if (fault === null) {
    line.flags.payloads(line.firstSeq, line.openFields, line.erasedFields);
    raiseTail(ledger, anchor, trust, nowUs);
    if (ledger.role === "WORK") raiseRevocations(ledger);
  }
  return {
    ledger: id,
    role,
    ledgerKey: toHex(line.genesis.body.ledgerKey),
    verdict: singles.length > 0 && trust !== null ? "PROVEN" : whole,
    from: singles[0] ?? line.firstSeq,
    to: line.lastSeq,
    size: line.tree.size,
    root: toHex(line.tree.root),
    anchor: anchor && {
      size: anchor.size,
      root: toHex(anchor.root),
      cosignedAtUs: anchor.cosignedAtUs,
      witnesses: anchor.witnesses,
    },
    witnessedSize,
    counts: tally.counts(id),
    headsBefore: line.tree.before,
    ...(ledger.role === "WORK" ? workReport(ledger, controlOf(found)) : NO_WORK),
  };
}

function raiseTail(
  ledger: Ledger,
  anchor: CosignedHead | null,
  trust: TrustFile | null,
  nowUs: number,
): void {
  const { firstSeq, lastSeq, tree, flags } = ledger.line;
  const singles = ledger.role === "WORK" ? ledger.singles.length : 0;
  flags.count("SINGLE", singles, "each by its own path");
  const anchored = anchor?.size ?? firstSeq - 1;
  if (singles > 0) return;
  flags.count("UNANCHORED_TAIL", lastSeq - anchored, `receipts after ${anchored}`);
  if (firstSeq > 1 || tree.size > lastSeq) {
    flags.count("RANGE", lastSeq - firstSeq + 1, `${firstSeq}–${lastSeq} of ${tree.size}`);
  }
  if (anchor === null || trust === null || trust.maxAgeUs === null) return;
  const ageUs = (trust.asOfUs ?? nowUs) - anchor.cosignedAtUs;
  if (ageUs > trust.maxAgeUs) {
    flags.raise("STALE_CHECKPOINT", null, `cosigned ${Math.floor(ageUs / 1_000_000)} s before`);
  }
}

function raiseRevocations({ line }: WorkLedger): void {
  const epochs = line.authority.revocations.map(({ body }) => body.epoch);
  const [first = 1] = epochs;
  const shown = epochs.at(-1) ?? 0;
  const leases = line.leases.all();
  const known = leases.reduce((epoch, { body }) => Math.max(epoch, body.revocationEpoch), 0);
  if (known > shown || first > 1) {
    const range = shown === 0 ? "none" : `${first} to ${shown}`;
    line.flags.raise("REVOCATION_NOT_SHOWN", null, `leases know ${known}, the pack shows ${range}`);
  }
}
