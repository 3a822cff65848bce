import type { HeartbeatBody } from "../domain/heartbeat.ts";
import type { Verified } from "../domain/signed.ts";
import type { CosignedHead } from "./checkpoints.ts";

/**
 * A time in which nothing was begun: heartbeats that count on without a gap, each with the head of receipts and
 * of intents of the one before, and nothing under way. The ledger key says so; a head that was countersigned
 * twice, once at each end, says by another's clock that no receipt came between.
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
  /** First and last countersignature of this very head, by the cosigner's clock; 0: fewer than two. */
  readonly countersignedFromUs: number;
  readonly countersignedUntilUs: number;
}

/** Of a pack with all its heartbeats, whatever was idle. */
export function idleTimes(
  heartbeats: readonly Pick<Verified<HeartbeatBody>, "body">[],
  heads: readonly CosignedHead[],
): Inactivity[] {
  return idleRuns(heartbeats).map((run) => idle(run, heads));
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

function idle(run: readonly HeartbeatBody[], heads: readonly CosignedHead[]): Inactivity {
  const [first, last] = [run[0] as HeartbeatBody, run.at(-1) as HeartbeatBody];
  const times = heads
    .filter((h) => h.size === first.size && h.cosignedAtUs > 0)
    .map((h) => h.cosignedAtUs)
    .sort((a, b) => a - b);
  const twice = times.length > 1;
  return {
    fromUs: first.wallUs,
    untilUs: last.wallUs,
    beats: run.length,
    sessionEpoch: first.sessionEpoch,
    fromCounter: first.counter,
    untilCounter: last.counter,
    size: first.size,
    intentsOpened: first.intentsOpened,
    countersignedFromUs: twice ? (times[0] as number) : 0,
    countersignedUntilUs: twice ? (times.at(-1) as number) : 0,
  };
}
