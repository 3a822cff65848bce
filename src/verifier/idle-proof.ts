import { toHex } from "../domain/bytes.ts";
import { cosignedByUs, dating, idleRuns, type SignedHead, signedHeads } from "./inactivity.ts";
import type { WorkLedger } from "./ledger.ts";

/**
 * A time, by the control plane's clock, in which an agent began nothing and had nothing under way: see `dating`.
 */
interface IdleSpan {
  readonly fromUs: number;
  readonly untilUs: number;
  /** The head that stood, hex, and how many intents had been opened. */
  readonly size: number;
  readonly root: string;
  readonly intentsOpened: number;
  /** The heartbeats that say so, and the last of them. */
  readonly sessionEpoch: number;
  readonly fromCounter: number;
  readonly untilCounter: number;
  readonly heartbeatId: string;
  /** Issued at `untilUs`, unless a larger head was signed before. */
  readonly leaseId: string;
}

interface Gap {
  readonly fromUs: number;
  readonly untilUs: number;
  readonly why: string;
}

/** 0 for an edge that was not asked for, and that nothing bounds. */
export interface IdleAnswer {
  readonly fromUs: number;
  readonly untilUs: number;
  /** All of it is proven. */
  readonly idle: boolean;
  readonly spans: readonly IdleSpan[];
  readonly gaps: readonly Gap[];
}

/** null: from the first countersigned head on, and as far as what it states can be dated. */
export interface AskedTime {
  readonly fromUs: number | null;
  readonly untilUs: number | null;
}

/** What a ledger that holds proves of the time that is asked for, and why no more. */
export function idleWithin(ledger: WorkLedger, asked: AskedTime): IdleAnswer {
  const heads = signedHeads(ledger);
  const firstUs = least(ledger.heads.filter((h) => h.cosignedAtUs > 0).map(cosignedByUs));
  const lastUs = datedUntil(ledger, heads);
  const untilUs = asked.untilUs ?? (lastUs > (asked.fromUs ?? firstUs) ? lastUs : 0);
  const fromUs = asked.fromUs ?? (firstUs < (untilUs || Infinity) ? firstUs : 0);
  const why = (a: number, b: number): string => {
    if (firstUs === Infinity) return "no head of it is countersigned";
    if (b <= firstUs && b > 0) return "no head of it was countersigned before";
    if (a >= lastUs || b === 0) return "no heartbeat of it is under a lease issued later";
    return betweenHeads(ledger, heads, a, b);
  };
  const gap = (a: number, b: number): Gap => ({ fromUs: a, untilUs: b, why: why(a, b) });
  if (fromUs === 0 || untilUs === 0)
    return { fromUs, untilUs, idle: false, spans: [], gaps: [gap(fromUs, untilUs)] };
  const spans = idleSpans(ledger, heads).filter((s) => s.fromUs < untilUs && s.untilUs > fromUs);
  const gaps: Gap[] = [];
  let at = fromUs;
  for (const next of [...spans, { fromUs: untilUs, untilUs }]) {
    // Where nothing could be proven for want of heads or heartbeats, that is told by itself.
    const bounds = [firstUs, lastUs].filter((us) => us > at && us < next.fromUs).sort(ascending);
    for (const edge of [...bounds, next.fromUs]) {
      if (edge > at) gaps.push(gap(at, edge));
      at = Math.max(at, edge);
    }
    at = Math.max(at, next.untilUs);
  }
  return { fromUs, untilUs, idle: gaps.length === 0, spans, gaps };
}

function idleSpans(ledger: WorkLedger, heads: readonly SignedHead[]): IdleSpan[] {
  const date = dating(ledger, heads);
  const bySize = new Map<number, IdleSpan>();
  for (const run of idleRuns(ledger.heartbeats)) {
    const time = date(run);
    if (time === null) continue;
    const { size, root, intentsOpened, sessionEpoch, counter } = run[0] as (typeof run)[number];
    const { fromUs, untilUs, last, lease } = time;
    // Of two runs under one head the later one reaches further: nothing can have been begun between.
    bySize.set(size, {
      fromUs,
      untilUs,
      size,
      root: toHex(root),
      intentsOpened,
      sessionEpoch,
      fromCounter: counter,
      untilCounter: last.counter,
      heartbeatId: last.heartbeatId,
      leaseId: lease.leaseId,
    });
  }
  return [...bySize.values()].sort((a, b) => a.fromUs - b.fromUs);
}

/** Until when what the ledger states has a time by the control plane's clock; 0: nothing has. */
function datedUntil({ heartbeats, line }: WorkLedger, heads: readonly SignedHead[]): number {
  const cited = new Set(heartbeats.map(({ body }) => toHex(body.leaseRef)));
  const issued = line.leases.all().filter(({ ref }) => cited.has(toHex(ref)));
  const size = greatest(heartbeats.map(({ body }) => body.size));
  // Heads that no heartbeat came to are known to be of something that was done.
  const beyond = heads.filter((h) => h.size > size);
  return greatest([...issued.map(({ body }) => body.issuedAtUs), ...beyond.map((h) => h.byUs)]);
}

/** Why nothing is proven between two times that heads lie around. */
function betweenHeads(
  ledger: WorkLedger,
  heads: readonly SignedHead[],
  a: number,
  b: number,
): string {
  const before = greatest(heads.filter((h) => h.byUs <= a).map((h) => h.size));
  const after = least(heads.filter((h) => h.byUs >= b).map((h) => h.size));
  if (after === before + 1) return `receipt ${after} came between the heads on either side`;
  if (after > before)
    return `receipts ${before + 1} to ${after} came between the heads on either side`;
  const inTime = new Set(
    ledger.line.leases
      .all()
      .filter(({ body: { issuedAtUs } }) => issuedAtUs >= a && issuedAtUs <= b)
      .map(({ ref }) => toHex(ref)),
  );
  const busy = ledger.heartbeats.some(
    ({ body }) => body.inFlight > 0 && inTime.has(toHex(body.leaseRef)),
  );
  return busy
    ? "a heartbeat under a lease of that time tells of an action under way"
    : `head ${before} stood, and no two heartbeats in a row, under a lease issued since, state it with nothing under way`;
}

const ascending = (a: number, b: number): number => a - b;
const least = (all: readonly number[]): number => all.reduce((a, b) => Math.min(a, b), Infinity);
const greatest = (all: readonly number[]): number => all.reduce((a, b) => Math.max(a, b), 0);
