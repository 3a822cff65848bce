import type { Infer } from "../../src/domain/canonical.ts";
import type { HeartbeatBody, Novelty } from "../../src/domain/heartbeat.ts";
import type { LeaseBody } from "../../src/domain/lease.ts";
import type { Verified } from "../../src/domain/signed.ts";
import type { Attended } from "../agent/launch.ts";
import type { WorkLedger } from "../ledger/work-ledger.ts";

/** What a beat is made of, read at one moment. The agent has no part in it. */
export interface BeatFacts {
  readonly heartbeatId: string;
  readonly tenantId: string;
  readonly sessionEpoch: number;
  readonly counter: number;
  readonly nowUs: number;
  readonly monotonicUs: number;
  readonly suspendedUs: number;
  /** Until the next beat. */
  readonly dueInUs: number;
  readonly loopLagUs: number;
  readonly agent: Pick<Attended, "state" | "exitCode"> | null;
  readonly enforcement: HeartbeatBody["enforcement"];
  readonly ledger: WorkLedger;
  readonly novelty: Infer<typeof Novelty>;
  readonly lastProgressUs: number;
  readonly grantRef: Uint8Array;
  readonly lease: Verified<LeaseBody> | null;
  readonly autonomyLeftUs: number;
  /** As measured now. */
  readonly manifestHash: Uint8Array;
  readonly directiveResults: HeartbeatBody["directiveResults"];
  /** The most pressing first. */
  readonly spent: HeartbeatBody["spent"];
}

/** Without what the machine slept. Open for less than a microsecond is open. */
const ageUs = (openedUs: number | null, monotonicUs: number): number =>
  openedUs === null ? 0 : Math.max(1, monotonicUs - openedUs);

/** Pulse, semantic progress and authority, from what the sidecar itself observed. */
export function heartbeat(facts: BeatFacts): HeartbeatBody {
  const { ledger, agent, nowUs } = facts;
  const head = ledger.head();
  const stats = ledger.stats();
  const exit = agent?.exitCode() ?? null;
  return {
    version: 1,
    heartbeatId: facts.heartbeatId,
    tenantId: facts.tenantId,
    ledgerId: ledger.ledgerId,
    sessionEpoch: facts.sessionEpoch,
    counter: facts.counter,
    wallUs: nowUs,
    monotonicUs: facts.monotonicUs,
    suspendedUs: facts.suspendedUs,
    nextDueUs: nowUs + facts.dueInUs,
    child: agent?.state() ?? "ABSENT",
    childExit: exit === null ? 0 : 1 + exit,
    inFlight: stats.openIntents,
    oldestInFlightUs: ageUs(stats.oldestOpenedUs, facts.monotonicUs),
    loopLagUs: facts.loopLagUs,
    size: head.size,
    root: head.root,
    intentsOpened: head.intentsOpened,
    intentsHead: head.intentsHead,
    scopes: stats.scopes,
    novelty: facts.novelty,
    lastProgressUs: facts.lastProgressUs,
    grantRef: facts.grantRef,
    leaseRef: facts.lease?.ref ?? new Uint8Array(0),
    autonomyLeftUs: facts.autonomyLeftUs,
    manifestHash: facts.manifestHash,
    ledgerHealth: stats.health,
    syncLag: stats.unacknowledged,
    enforcement: facts.enforcement,
    directiveResults: facts.directiveResults,
    spent: facts.spent,
    observeUntilUs: facts.lease?.body.observeUntilUs ?? 0,
  };
}
