import { randomBytes } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { toHex } from "../../domain/bytes.ts";
import { MEASURES } from "../../domain/grant.ts";
import { ENFORCEMENTS } from "../../domain/heartbeat.ts";
import { LeaseBody } from "../../domain/lease.ts";
import { ledgerCheckUs } from "../../domain/limits.ts";
import type { PayloadField } from "../../domain/payload.ts";
import { REASONS } from "../../domain/reason.ts";
import type { SidecarClient } from "../client.ts";
import { EXIT, Failure } from "../failure.ts";
import { type LeftView, leftNow } from "./left.ts";

export interface Export {
  /** The pack's file. */
  readonly out: string;
  /** Seqs, inclusive; absent: from the first, to the last. */
  readonly fromSeq?: number;
  readonly toSeq?: number;
  /** Payload fields to lay open; none: those that the sidecar discloses by itself. */
  readonly disclose?: readonly PayloadField[];
  /** In place of a range: what covers the receipts under a lease, or opened in a time, microseconds. */
  readonly leaseId?: string;
  readonly sinceUs?: number;
  readonly untilUs?: number;
  /** In place of all of these: single receipts, by their ids. */
  readonly receiptIds?: readonly string[];
}

/**
 * Streams an evidence pack into a file, which is there whole or not at all: it is written aside, made
 * durable, and renamed. Returns its size in bytes.
 * @throws Failure, usage, when the file cannot be written.
 */
export async function exportEvidence(
  { evidence }: SidecarClient,
  { out, fromSeq = 0, toSeq = 0, disclose = [], ...chosen }: Export,
): Promise<{ readonly bytes: number }> {
  const partial = join(dirname(out), `.${basename(out)}.${toHex(randomBytes(6))}.partial`);
  let bytes = 0;
  try {
    const file = await open(partial, "wx", 0o644);
    try {
      const { leaseId = "", sinceUs = 0, untilUs = 0, receiptIds = [] } = chosen;
      const request = {
        fromSeq: BigInt(fromSeq),
        toSeq: BigInt(toSeq),
        disclose: [...disclose],
        leaseId,
        sinceUs: BigInt(sinceUs),
        untilUs: BigInt(untilUs),
        receiptIds: [...receiptIds],
      };
      for await (const { chunk } of evidence.export(request)) {
        await file.writeFile(chunk);
        bytes += chunk.length;
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(partial, out);
  } catch (error) {
    await rm(partial, { force: true }).catch(() => {});
    const { syscall, message } = error as NodeJS.ErrnoException;
    throw syscall === undefined ? error : new Failure(EXIT.usage, `--out: ${message}`);
  }
  return { bytes };
}

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
