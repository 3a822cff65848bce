import { toHex } from "../../domain/bytes.ts";
import { MEASURES } from "../../domain/grant.ts";
import { ENFORCEMENTS } from "../../domain/heartbeat.ts";
import { LeaseBody } from "../../domain/lease.ts";
import { ledgerCheckUs } from "../../domain/limits.ts";
import { REASONS } from "../../domain/reason.ts";
import type { SidecarClient } from "../client.ts";
import { type LeftView, leftNow } from "./left.ts";

/** What the sidecar's walk along its whole ledger found. */
export interface LedgerCheck {
  readonly size: number;
  /** Hex. */
  readonly root: string;
  readonly openIntents: number;
  /** null: nothing is wrong. */
  readonly fault: { readonly detail: string; readonly seq: number } | null;
}

export async function checkLedger({ evidence }: SidecarClient): Promise<LedgerCheck> {
  const answer = await evidence.checkLedger({}, { timeoutUs: ledgerCheckUs });
  return {
    size: Number(answer.size),
    root: toHex(answer.root),
    openIntents: Number(answer.openIntents),
    fault: answer.fault === "" ? null : { detail: answer.fault, seq: Number(answer.faultSeq) },
  };
}

/** How a sidecar is. Hashes in hex, times in microseconds. */
export interface SidecarStatus {
  readonly instanceId: string;
  readonly tenant: string;
  readonly ledgerId: string;
  readonly size: number;
  readonly heldSize: number;
  readonly attached: boolean;
  readonly sessionEpoch: number;
  readonly leaseId: string;
  readonly scopes: readonly string[];
  readonly leaseUntilUs: number;
  /** Until then the lease merely observes; 0: it enforces its scopes. */
  readonly observeUntilUs: number;
  readonly autonomyLeftUs: number;
  readonly manifestHash: string;
  /** Why nothing is permitted; null: authority is held. */
  readonly standing: string | null;
  /** Whether the agent could go round the sidecar: sealed, gateway, advisory. */
  readonly enforcement: string;
  /** How its manifest was measured: files, launched. */
  readonly measured: string;
  readonly inFlight: number;
  readonly left: readonly LeftView[];
}

export async function sidecarStatus({ evidence }: SidecarClient): Promise<SidecarStatus> {
  const s = await evidence.getStatus({});
  const lease = s.lease === undefined ? null : LeaseBody.decode(s.lease.body);
  return {
    instanceId: s.instanceId,
    tenant: s.tenantId,
    ledgerId: toHex(s.ledgerId),
    size: Number(s.size),
    heldSize: Number(s.heldSize),
    attached: s.attached,
    sessionEpoch: Number(s.sessionEpoch),
    leaseId: lease?.leaseId ?? "",
    scopes: lease?.scopes.map((x) => x.name) ?? [],
    leaseUntilUs: lease?.notAfterUs ?? 0,
    observeUntilUs: lease?.observeUntilUs ?? 0,
    autonomyLeftUs: Number(s.autonomyLeftUs),
    manifestHash: toHex(s.manifestHash),
    standing: s.standing === 0 ? null : (REASONS[s.standing] ?? "UNSPECIFIED"),
    inFlight: s.inFlight,
    enforcement: (ENFORCEMENTS[s.enforcement] ?? "UNSPECIFIED").toLowerCase(),
    measured: (MEASURES[s.measure] ?? "UNSPECIFIED").toLowerCase(),
    left: s.left.map((l) =>
      leftNow({
        scope: l.scope,
        actionsLeft: Number(l.actionsLeft),
        bytesLeft: Number(l.bytesLeft),
        concurrentLeft: Number(l.concurrentLeft),
        rateLeft: Number(l.rateLeft),
      }),
    ),
  };
}
