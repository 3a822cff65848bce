import { equal, toHex } from "../domain/bytes.ts";
import { retrace } from "../domain/history.ts";
import { manifestLabel } from "../domain/manifest.ts";
import type { ControlLedger } from "./control-ledger.ts";
import { idleTimes } from "./inactivity.ts";
import type { WorkLedger } from "./ledger.ts";
import type { HistoryReport, LedgerReport } from "./report.ts";

type WorkPart = Pick<
  LedgerReport,
  | "instanceId"
  | "manifest"
  | "manifestHash"
  | "openIntents"
  | "grants"
  | "leases"
  | "states"
  | "heartbeats"
  | "history"
  | "idle"
  | "brackets"
  | "hiddenAtMostUs"
>;

/** Of the control plane's own ledger, which has none of it. */
export const NO_WORK: WorkPart = {
  instanceId: "",
  manifest: "",
  manifestHash: "",
  openIntents: [],
  grants: [],
  leases: [],
  states: [],
  heartbeats: 0,
  history: { agreement: "NONE", whole: true, objections: [] },
  idle: [],
  brackets: [],
  hiddenAtMostUs: 0,
};

/** What one work ledger shows beside its receipts; `control`: the section that may have recorded it. */
export function workReport(ledger: WorkLedger, control: ControlLedger | null): WorkPart {
  const recordedSeq = (ref: Uint8Array) => control?.recorded.seqOf(ref) ?? 0;
  const { genesis, manifest, grants } = ledger.line.authority;
  const leases = ledger.line.leases.all();
  return {
    instanceId: genesis.body.instanceId,
    manifest: manifestLabel(manifest),
    manifestHash: toHex(genesis.body.manifestHash),
    openIntents: ledger.openIntents.map((row) => ({
      intentSeq: row.intentSeq,
      receiptId: row.receiptId,
      openedAtUs: row.openedAtUs,
      leaseRef: toHex(row.leaseRef),
      claimCommitment: toHex(row.claimCommitment),
    })),
    grants: [...grants.values()].map(({ body, ref, signed }) => ({
      grantId: body.grantId,
      ref: toHex(ref),
      purpose: body.purpose,
      signedBy: signed.signatures.map((s) => toHex(s.key)),
    })),
    leases: leases.map(({ body, ref }) => ({
      leaseId: body.leaseId,
      ref: toHex(ref),
      leaseSeq: body.leaseSeq,
      grantRef: toHex(body.grantRef),
      scopes: body.scopes.map((s) => s.name),
      notBeforeUs: body.notBeforeUs,
      notAfterUs: body.notAfterUs,
      headSize: body.headSize,
      recordedSeq: recordedSeq(ref),
    })),
    states: ledger.transitions.map(({ body, ref }) => ({
      atUs: body.atUs,
      from: body.from,
      to: body.to,
      cause: body.cause,
      condition: body.condition,
      recordedSeq: recordedSeq(ref),
    })),
    heartbeats: ledger.heartbeats.length,
    history: decidedAgain(ledger),
    idle: idleTimes(ledger),
    brackets: ledger.brackets.all(),
    hiddenAtMostUs:
      2 * leases.reduce((t, { body }) => Math.max(t, body.notAfterUs - body.notBeforeUs), 0),
  };
}

/** The states once more, from the beats that they cite and the grant of the dock. */
function decidedAgain({ line, transitions, heartbeats }: WorkLedger): HistoryReport {
  const { genesis, docks, grants } = line.authority;
  const beats = new Map(heartbeats.map((h) => [toHex(h.ref), h.body]));
  const dock = docks.get(toHex(genesis.body.dockRef));
  const grant = dock && grants.get(toHex(dock.body.grantRef));
  const { manifestHash } = genesis.body;
  const { agreement, whole, moments } = retrace({
    transitions: transitions.map((t) => t.body),
    beat: (ref) => beats.get(toHex(ref)) ?? null,
    origin: (id) =>
      grant && equal(id, genesis.ref) ? { manifestHash, liveness: grant.body.liveness } : null,
  });
  const objections = moments
    .filter((m) => m.agreement !== "AGREES")
    .map(({ transition, why }) => ({ atUs: transition.atUs, to: transition.to, why }));
  return { agreement: moments.length === 0 ? "NONE" : agreement, whole, objections };
}
