import { equal } from "./bytes.ts";
import { bytes, message, nested, oneOf, repeated, str, u32, u64 } from "./canonical.ts";
import type { Crypto } from "./crypto.ts";
import type { GenesisBody } from "./genesis.ts";
import { isId } from "./ids.ts";
import { type Invalid, invalid, isInvalid } from "./invalid.ts";
import { heartbeatBytesMax } from "./limits.ts";
import type { SignedBytes, SignedKind, Verified } from "./signed.ts";
import { isPresent, openVersion1, sameTenant } from "./verify.ts";

/**
 * ABSENT: no agent is supervised, or it is being restarted by its policy. EXITED: it ended and no
 * policy restarts it. STOPPED: suspended by a signal.
 */
const CHILD_STATES = ["UNSPECIFIED", "ABSENT", "RUNNING", "EXITED", "STOPPED"] as const;
const LEDGER_HEALTHS = ["UNSPECIFIED", "OK", "SLOW", "FULL", "FAILED"] as const;
/** Whether the agent could go round the sidecar: no (sealed), by its gateway no, yes (advisory). */
export const ENFORCEMENTS = ["UNSPECIFIED", "ADVISORY", "GATEWAY", "SEALED"] as const;
export type Enforcement = (typeof ENFORCEMENTS)[number];

/** What happened in one scope since the ledger began. The scope "" stands for all those not named. */
export const ScopeCount = message("scopeCount", {
  scope: str(1),
  completed: u64(2),
  failed: u64(3),
  denied: u64(4),
});

/**
 * What was spent in one scope under the grant, since the ledger began: actions opened, and bytes charged
 * or, of what is open, passed. What is merely reserved is not among them.
 */
export const ScopeSpent = message("scopeSpent", {
  scope: str(1),
  actions: u64(2),
  bytes: u64(3),
});
export type ScopeSpent = ReturnType<typeof ScopeSpent.decode>;

/**
 * How many fingerprints in the window had not been seen before, by level; and how many completed
 * actions that may change something did what had been done before, by turns with others.
 */
export const Novelty = message("novelty", {
  targets: u32(1),
  shapes: u32(2),
  outcomes: u32(3),
  actions: u32(4),
  repeats: u32(5),
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
  /** Without what the machine slept. */
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
  /** Of the lease in hand: until then it merely observes; 0: it enforces its scopes. */
  observeUntilUs: u64(31),
  /** Of the scopes whose actions or bytes the grant counts, sorted by name; see `fitHeartbeat`. */
  spent: repeated(nested(32, ScopeSpent)),
});
export type HeartbeatBody = ReturnType<typeof HeartbeatBody.decode>;

export const HEARTBEAT: SignedKind<HeartbeatBody> = { name: "heartbeat", body: HeartbeatBody };

/** What is wrong with a heartbeat's fields, taken by itself; null: nothing. */
export function checkHeartbeat(b: HeartbeatBody): Invalid | null {
  const flaw = flawOf(b);
  return flaw === null ? null : invalid("E_FIELD", `heartbeat.${flaw}`);
}

// Asked of every beat of a fleet: no closure and no list is made for one that is well.
function flawOf(b: HeartbeatBody): string | null {
  if (!isId("hbt", b.heartbeatId)) return "heartbeatId is not an hbt_ id";
  for (const name of REQUIRED) {
    const value = b[name];
    const isAbsent = value instanceof Uint8Array ? !isPresent(value) : ABSENT.has(value);
    if (isAbsent) return `${name} is absent`;
  }
  if (b.nextDueUs < b.wallUs) return "nextDueUs is before the beat";
  if (b.childExit > 0 !== (b.child === "EXITED")) {
    return "childExit stands with EXITED, and only there";
  }
  if (b.inFlight === 0 && b.oldestInFlightUs > 0) {
    return "oldestInFlightUs has an age with nothing in flight";
  }
  if (!isPresent(b.leaseRef)) {
    if (b.autonomyLeftUs > 0) return "autonomyLeftUs is left without a lease";
    if (b.observeUntilUs > 0) return "observeUntilUs observes without a lease";
  }
  if (!ascends(b.scopes)) return "scopes are not sorted by name, each once";
  if (!ascends(b.spent)) return "spent is not sorted by scope, each once";
  for (const { directiveId, outcome } of b.directiveResults) {
    if (!isId("dir", directiveId) || outcome === "UNSPECIFIED") {
      return "directiveResults has a result without directive or outcome";
    }
  }
  return null;
}

function ascends(counts: readonly { readonly scope: string }[]): boolean {
  let last: string | null = null;
  for (const { scope } of counts) {
    if (last !== null && scope <= last) return false;
    last = scope;
  }
  return true;
}

const ABSENT = new Set<unknown>(["", 0, "UNSPECIFIED"]);
const REQUIRED = [
  "tenantId",
  "ledgerId",
  "sessionEpoch",
  "counter",
  "wallUs",
  "monotonicUs",
  "child",
  "root",
  "intentsHead",
  "grantRef",
  "manifestHash",
  "ledgerHealth",
  "enforcement",
] as const;

/** Whose beats these are: what of a ledger's genesis they are held against. */
export interface BeatLedger {
  /** ref(genesis), 32 bytes. */
  readonly ledgerId: Uint8Array;
  readonly ledgerKey: Uint8Array;
  readonly tenantId: string;
}

export const beatLedger = ({ body, ref }: Verified<GenesisBody>): BeatLedger => ({
  ledgerId: ref,
  ledgerKey: body.ledgerKey,
  tenantId: body.tenantId,
});

/** A beat is looked at, and kept packed if at all: its body need not be copied field by field. */
const VIEWED: SignedKind<HeartbeatBody> = {
  ...HEARTBEAT,
  body: { ...HeartbeatBody, decode: (bytes) => HeartbeatBody.view(bytes) },
};

/**
 * Small enough, signed by the ledger's own key and by no other, for this tenant and this ledger. Bytes in the
 * body are views of what was signed.
 */
export function verifyHeartbeat(
  crypto: Crypto,
  signed: SignedBytes,
  of: BeatLedger,
): Verified<HeartbeatBody> | Invalid {
  const size = signed.body.length;
  // Size and number are looked at first: verifying costs more than a beat is worth.
  if (size > heartbeatBytesMax) {
    return invalid("E_FIELD", `heartbeat: ${size} bytes, at most ${heartbeatBytesMax}`);
  }
  if (signed.signatures.length !== 1) {
    return invalid("E_SIGNATURE", "heartbeat: carries one signature");
  }
  const opened = openVersion1(crypto, VIEWED, signed);
  if (isInvalid(opened)) return opened;
  const { body, signers, verified } = opened;
  if (!signers.every((key) => equal(key, of.ledgerKey))) {
    return invalid("E_KEY_UNKNOWN", "heartbeat: is not signed by the ledger key");
  }
  const strange = sameTenant("heartbeat.tenantId", body.tenantId, of.tenantId);
  if (strange !== null) return strange;
  if (!equal(body.ledgerId, of.ledgerId)) {
    return invalid("E_LEDGER", "heartbeat: of another ledger");
  }
  return checkHeartbeat(body) ?? verified;
}

/**
 * How a beat stands to the one last accepted.
 * NEXT: take it. STALE: a repeat, in the same session no later than what we have. OLD_SESSION: from a
 * session that another has replaced. REGRESS: history became shorter. FORK: history became another;
 * the two signed beats prove it to anyone.
 */
export type Succession = "NEXT" | "STALE" | "OLD_SESSION" | "REGRESS" | "FORK";

export function succession(last: HeartbeatBody, next: HeartbeatBody): Succession {
  // A declared regress begins another ledger, whose heads have nothing to do with this one's.
  if (equal(last.ledgerId, next.ledgerId)) {
    if (last.size === next.size && !equal(last.root, next.root)) return "FORK";
    const sameIntents = last.intentsOpened === next.intentsOpened;
    if (sameIntents && !equal(last.intentsHead, next.intentsHead)) return "FORK";
  }
  if (next.sessionEpoch < last.sessionEpoch) return "OLD_SESSION";
  if (next.sessionEpoch === last.sessionEpoch && next.counter <= last.counter) return "STALE";
  if (!equal(last.ledgerId, next.ledgerId)) return "NEXT";
  return next.size < last.size || next.intentsOpened < last.intentsOpened ? "REGRESS" : "NEXT";
}

/**
 * The same beat with as many scopes named as fit into `heartbeatBytesMax`, busiest first; the
 * counts of the others are added up under "". Totals never change. `spent` comes with the most
 * pressing first: where all counts are added up and it is still too long, the last of it is left out.
 */
export function fitHeartbeat(body: HeartbeatBody): HeartbeatBody {
  const busiest = body.scopes
    .filter((s) => s.scope !== "")
    .sort((a, b) => total(b) - total(a) || byScope(a, b));
  let rest = body.scopes.filter((s) => s.scope === "");
  const pressing = [...body.spent];
  for (;;) {
    const scopes = [...rest, ...busiest].sort(byScope);
    const fitted = { ...body, scopes, spent: pressing.toSorted(byScope) };
    if (HEARTBEAT.body.encode(fitted).length <= heartbeatBytesMax) return fitted;
    const dropped = busiest.pop();
    if (dropped !== undefined) rest = [rest.reduce(plus, { ...dropped, scope: "" })];
    else if (pressing.pop() === undefined) return fitted;
  }
}

const byScope = (a: { scope: string }, b: { scope: string }): number =>
  a.scope < b.scope ? -1 : 1;

type ScopeCount = ReturnType<typeof ScopeCount.decode>;
const total = (s: ScopeCount): number => s.completed + s.failed + s.denied;
const plus = (a: ScopeCount, b: ScopeCount): ScopeCount => ({
  scope: a.scope,
  completed: a.completed + b.completed,
  failed: a.failed + b.failed,
  denied: a.denied + b.denied,
});
