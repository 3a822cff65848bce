import { bytes, message, nested, oneOf, repeated, str, u32, u64 } from "./canonical.ts";
import type { SignedKind } from "./signed.ts";

export const CHILD_STATES = ["UNSPECIFIED", "ABSENT", "RUNNING", "EXITED", "STOPPED"] as const;
export const LEDGER_HEALTHS = ["UNSPECIFIED", "OK", "SLOW", "FULL", "FAILED"] as const;
/** Whether the agent could go round the sidecar: no (sealed), by its gateway no, yes (advisory). */
export const ENFORCEMENTS = ["UNSPECIFIED", "ADVISORY", "GATEWAY", "SEALED"] as const;
export type Enforcement = (typeof ENFORCEMENTS)[number];

/** What happened in one scope since the ledger began. */
export const ScopeCount = message("scopeCount", {
  scope: str(1),
  completed: u64(2),
  failed: u64(3),
  denied: u64(4),
});

/** How many fingerprints in the window had not been seen before, by level. */
export const Novelty = message("novelty", {
  targets: u32(1),
  shapes: u32(2),
  outcomes: u32(3),
  actions: u32(4),
});

export const DirectiveResult = message("directiveResult", {
  directiveId: str(1),
  outcome: oneOf(2, ["UNSPECIFIED", "DONE", "FAILED", "IGNORED"] as const),
  detail: str(3),
});

/**
 * A sign of life that the sidecar makes from what it observed. The agent has no part in it.
 * At most 1 KB, signed by the ledger key.
 */
export const HeartbeatBody = message("heartbeat", {
  version: u32(1),
  heartbeatId: str(2),
  tenantId: str(3),
  ledgerId: bytes(4, 32),
  // Pulse
  sessionEpoch: u64(5),
  counter: u64(6),
  wallUs: u64(7),
  monotonicUs: u64(8),
  /** BOOTTIME − MONOTONIC: how long the machine has slept since boot. */
  suspendedUs: u64(9),
  /** When the next beat is due, by wallUs' clock. */
  nextDueUs: u64(10),
  child: oneOf(11, CHILD_STATES),
  /** 1 + exit code; 0: has not exited. */
  childExit: u32(12),
  inFlight: u32(13),
  oldestInFlightUs: u64(14),
  loopLagUs: u64(15),
  // Semantic progress
  size: u64(16),
  root: bytes(17, 32),
  intentsOpened: u64(18),
  intentsHead: bytes(19, 32),
  scopes: repeated(nested(20, ScopeCount)),
  novelty: nested(21, Novelty),
  /** Time of the last novel, completed action; 0: none yet. */
  lastProgressUs: u64(22),
  grantRef: bytes(23, 32),
  // Authority
  leaseRef: bytes(24, 32),
  autonomyLeftUs: u64(25),
  /** As measured now. */
  manifestHash: bytes(26, 32),
  ledgerHealth: oneOf(27, LEDGER_HEALTHS),
  /** Receipts not yet acknowledged by the control plane. */
  syncLag: u64(28),
  enforcement: oneOf(29, ENFORCEMENTS),
  directiveResults: repeated(nested(30, DirectiveResult)),
});
export type HeartbeatBody = ReturnType<typeof HeartbeatBody.decode>;

export const HEARTBEAT: SignedKind<HeartbeatBody> = { name: "heartbeat", body: HeartbeatBody };
