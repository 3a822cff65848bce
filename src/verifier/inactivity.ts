import { toHex } from "../domain/bytes.ts";
import type { HeartbeatBody } from "../domain/heartbeat.ts";
import type { LeaseBody } from "../domain/lease.ts";
import type { Verified } from "../domain/signed.ts";
import type { CosignedHead } from "./checkpoints.ts";
import type { WorkLedger } from "./ledger.ts";

/**
 * A time in which nothing was begun: heartbeats that count on without a gap, each with the head of receipts and
 * of intents of the one before, and nothing under way. The ledger key says so, and heads and leases date it by
 * the control plane's clock.
 */
export interface Inactivity {
  /** By the sidecar's own clock, from the first of these heartbeats to the last. */
  readonly fromUs: number;
  readonly untilUs: number;
  readonly beats: number;
  readonly sessionEpoch: number;
  readonly fromCounter: number;
  readonly untilCounter: number;
  readonly size: number;
  readonly intentsOpened: number;
  /** What of it is proven by the control plane's clock, see `dating`; 0: nothing. */
  readonly datedFromUs: number;
  readonly datedUntilUs: number;
}

/** Of a pack with all its heartbeats, whatever was idle. */
export function idleTimes(ledger: WorkLedger): Inactivity[] {
  const date = dating(ledger, signedHeads(ledger));
  return idleRuns(ledger.heartbeats).map((run) => {
    const [first, last] = [run[0] as HeartbeatBody, run.at(-1) as HeartbeatBody];
    const time = date(run);
    return {
      fromUs: first.wallUs,
      untilUs: last.wallUs,
      beats: run.length,
      sessionEpoch: first.sessionEpoch,
      fromCounter: first.counter,
      untilCounter: last.counter,
      size: first.size,
      intentsOpened: first.intentsOpened,
      datedFromUs: time?.fromUs ?? 0,
      datedUntilUs: time?.untilUs ?? 0,
    };
  });
}

/** The heartbeats of each idle time, in their order. At least two beats make a time. */
export function idleRuns(
  heartbeats: readonly Pick<Verified<HeartbeatBody>, "body">[],
): (readonly HeartbeatBody[])[] {
  const beats = heartbeats
    .map(({ body }) => body)
    .sort((a, b) => a.sessionEpoch - b.sessionEpoch || a.counter - b.counter);
  const found: HeartbeatBody[][] = [];
  let run: HeartbeatBody[] = [];
  const end = (): void => {
    if (run.length > 1) found.push(run);
    run = [];
  };
  for (const beat of beats) {
    const last = run.at(-1);
    if (last !== undefined && !follows(last, beat)) end();
    if (beat.inFlight === 0) run.push(beat);
    else end();
  }
  end();
  return found;
}

const follows = (a: HeartbeatBody, b: HeartbeatBody): boolean =>
  a.sessionEpoch === b.sessionEpoch &&
  b.counter === a.counter + 1 &&
  b.monotonicUs >= a.monotonicUs &&
  b.size === a.size &&
  b.intentsOpened === a.intentsOpened;

/** A head that the control plane signed, in a countersignature or in a lease, not before `sinceUs` and by `byUs`. */
export interface SignedHead {
  readonly sinceUs: number;
  readonly byUs: number;
  readonly size: number;
}

/** A countersignature tells the second, of which only the end is surely after it. */
export const cosignedByUs = ({ cosignedAtUs }: CosignedHead): number => cosignedAtUs + 1_000_000;

export function signedHeads({ heads, line }: WorkLedger): SignedHead[] {
  const cosigned = heads
    .filter((h) => h.cosignedAtUs > 0)
    .map((h) => ({ sinceUs: h.cosignedAtUs, byUs: cosignedByUs(h), size: h.size }));
  const pinned = line.leases.all().map(({ body: { issuedAtUs, headSize } }) => ({
    sinceUs: issuedAtUs,
    byUs: issuedAtUs,
    size: headSize,
  }));
  return [...cosigned, ...pinned];
}

export interface DatedIdleness {
  readonly fromUs: number;
  readonly untilUs: number;
  /** The last of its heartbeats that is under a lease, and that lease. */
  readonly last: HeartbeatBody;
  readonly lease: LeaseBody;
}

/**
 * What of an idle time is proven by the control plane's clock; null: nothing. It begins with the first
 * countersignature of its head, and ends where the newest lease was issued under which a heartbeat still states that head
 * and as many intents. A later countersignature of that head would not do: a head stays as it is while an action
 * is under way.
 * @param signed `signedHeads` of it
 */
export function dating(
  ledger: WorkLedger,
  signed: readonly SignedHead[],
): (run: readonly HeartbeatBody[]) => DatedIdleness | null {
  const leases = new Map(ledger.line.leases.all().map(({ ref, body }) => [toHex(ref), body]));
  const headOf = ({ size, root }: { size: number; root: Uint8Array }) => `${size} ${toHex(root)}`;
  const cosignedUs = new Map<string, number>();
  for (const head of ledger.heads.filter((h) => h.cosignedAtUs > 0)) {
    const byUs = cosignedByUs(head);
    cosignedUs.set(headOf(head), Math.min(cosignedUs.get(headOf(head)) ?? byUs, byUs));
  }
  const grownUs = firstBeyond(signed);
  return (run) => {
    const first = run[0] as HeartbeatBody;
    const last = run.findLast((beat) => beat.leaseRef.length > 0);
    const lease = last && leases.get(toHex(last.leaseRef));
    const fromUs = cosignedUs.get(headOf(first));
    if (last === undefined || lease === undefined || fromUs === undefined) return null;
    const untilUs = Math.min(lease.issuedAtUs, grownUs(first.size));
    return untilUs <= fromUs ? null : { fromUs, untilUs, last, lease };
  };
}

/** When the first head of more than a size may have been signed; Infinity: none was. */
function firstBeyond(heads: readonly SignedHead[]): (size: number) => number {
  const bySize = heads.toSorted((a, b) => a.size - b.size);
  const since = new Float64Array(bySize.length + 1).fill(Infinity);
  for (let n = bySize.length - 1; n >= 0; n--) {
    since[n] = Math.min(bySize[n]?.sinceUs ?? Infinity, since[n + 1] ?? Infinity);
  }
  return (size) => {
    let [low, high] = [0, bySize.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((bySize[middle]?.size ?? 0) > size) high = middle;
      else low = middle + 1;
    }
    return since[low] ?? Infinity;
  };
}
