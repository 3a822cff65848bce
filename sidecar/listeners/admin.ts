import { rmSync } from "node:fs";
import { join } from "node:path";
import type { LimitState } from "../../src/domain/claim.ts";
import type { Crypto } from "../../src/domain/crypto.ts";
import { MEASURES, type Measure } from "../../src/domain/grant.ts";
import { ENFORCEMENTS, type HeartbeatBody } from "../../src/domain/heartbeat.ts";
import {
  adminServer,
  amendTextMax,
  entriesPageMax,
  packChunkBytes,
  socketPathMax,
} from "../../src/domain/limits.ts";
import {
  ActionBody,
  GoalBody,
  OutcomeBody,
  PAYLOAD_FIELDS,
  type PayloadField,
} from "../../src/domain/payload.ts";
import { isPrintable } from "../../src/domain/printable.ts";
import { REASONS } from "../../src/domain/reason.ts";
import { ReceiptHeader } from "../../src/domain/receipt.ts";
import { SignedBytes } from "../../src/domain/signed.ts";
import { encodeSigned, refOf } from "../../src/domain/signing.ts";
import type {
  Enforcement,
  Measure as WireMeasure,
  Reason as WireReason,
} from "../../src/gen/dragons/v1/artifacts_pb.ts";
import { EvidenceService } from "../../src/gen/dragons/v1/evidence_pb.ts";
import { exportPack, type LedgerEvidence } from "../../src/verifier/export.ts";
import { storedToWire, toWire } from "../../src/wire/artifacts.ts";
import { openServer, type RpcServer, serve } from "../../src/wire/grpc.ts";
import type { Handlers } from "../../src/wire/rpc.ts";
import { StatusError } from "../../src/wire/status.ts";
import { ConfigError } from "../config.ts";
import type { AuthorityHolder } from "../gate/authority.ts";
import { standingReason } from "../gate/standing.ts";
import type { HeldAuthority } from "../identity/held-authority.ts";
import type { LeaseLog } from "../identity/lease-log.ts";
import { LedgerUnavailable, type StoredReceipt, type WorkLedger } from "../ledger/work-ledger.ts";
import type { BeatMemory } from "../tether/beat-memory.ts";
import type { Tether } from "../tether/tether.ts";
import { coveringRange } from "./covering.ts";

export interface AdminParts {
  readonly crypto: Crypto;
  readonly ledger: WorkLedger;
  readonly authority: HeldAuthority;
  readonly holder: AuthorityHolder;
  readonly leases: LeaseLog;
  /** What is left to spend in each scope of the lease in hand. */
  readonly left: () => LimitState[];
  readonly tether: () => Tether | null;
  /** Heartbeats and the notes that came back. */
  readonly memory: BeatMemory;
  readonly onFault: (error: unknown, method: string) => void;
  /** Whether the agent could go round, and how it is measured. */
  readonly enforcement: HeartbeatBody["enforcement"];
  readonly measure: Measure;
}

/** Where the sidecar of a data folder is asked. @throws ConfigError when no socket can be there. */
export function adminSocket(dataFolder: string): string {
  const path = join(dataFolder, "admin.sock");
  if (path.length <= socketPathMax) return path;
  throw new ConfigError(
    `--data: ${path} is longer than the ${socketPathMax} characters of a unix socket; use a shorter folder`,
  );
}

/**
 * Serves what never leaves the tenant, on a unix socket in the instance's own folder: whoever may
 * enter the folder may ask. The folder is 0700, so that is the sidecar's user and root.
 */
export async function openAdmin(path: string, parts: AdminParts): Promise<RpcServer> {
  // Left by a process that was killed; the ledger's lock says that none lives.
  rmSync(path, { force: true });
  const server = openServer({
    transport: null,
    limits: adminServer,
    onFault: parts.onFault,
  });
  serve(server, EvidenceService, handlers(parts));
  await server.listen(`unix:${path}`);
  return server;
}

function handlers(parts: AdminParts): Handlers<typeof EvidenceService> {
  const { ledger, authority, holder, leases } = parts;
  const genesis = authority.genesis.body;
  return {
    async getStatus() {
      const tether = parts.tether();
      const head = ledger.head();
      return {
        instanceId: genesis.instanceId,
        tenantId: genesis.tenantId,
        ledgerId: ledger.ledgerId,
        size: BigInt(head.size),
        heldSize: BigInt(ledger.acknowledgedSeq),
        ...(holder.lease ? { lease: toWire(holder.lease.signed) } : {}),
        attached: tether?.attached ?? false,
        sessionEpoch: BigInt(tether?.sessionEpoch ?? 0),
        autonomyLeftUs: BigInt(Math.floor(holder.autonomyLeftUs)),
        manifestHash: authority.manifestHash,
        standing: REASONS.indexOf(standingReason(holder)) as WireReason,
        inFlight: ledger.stats().openIntents,
        enforcement: ENFORCEMENTS.indexOf(parts.enforcement) as Enforcement,
        measure: MEASURES.indexOf(parts.measure) as WireMeasure,
        left: parts.left().map((l) => ({
          scope: l.scope,
          actionsLeft: BigInt(l.actionsLeft),
          bytesLeft: BigInt(l.bytesLeft),
          concurrentLeft: BigInt(l.concurrentLeft),
          rateLeft: BigInt(l.rateLeft),
        })),
      };
    },

    async listEntries({ fromSeq, pageSize }) {
      const limit = pageSize <= 0 ? entriesPageMax : Math.min(pageSize, entriesPageMax);
      const entries = ledger.read(Math.max(1, Number(fromSeq)), limit);
      const last = entries.at(-1)?.seq ?? 0;
      const more = last > 0 && last < ledger.head().size;
      return { entries: entries.map(entryOf), nextSeq: more ? BigInt(last + 1) : 0n };
    },

    async getEntry({ receiptId }) {
      const found = findReceipt(ledger, receiptId);
      if (found === null) {
        throw new StatusError(
          "NOT_FOUND",
          "NO_SUCH_OBJECT",
          `receipt_id: no receipt ${receiptId} here`,
        );
      }
      const { leaseRef } = ReceiptHeader.decode(SignedBytes.decode(found.signed).body);
      const lease = leases.find(leaseRef);
      return {
        entry: entryOf(found),
        ...(lease ? { lease: toWire(lease) } : {}),
        grant: toWire(authority.grant.signed),
        manifest: authority.manifestBytes,
      };
    },

    async checkLedger() {
      const head = ledger.head();
      const broken = await ledger.check();
      return {
        size: BigInt(head.size),
        root: head.root,
        openIntents: BigInt(ledger.stats().openIntents),
        fault: broken?.detail ?? "",
        faultSeq: BigInt(broken?.seq ?? 0),
      };
    },

    async correct({ receiptId, text }) {
      const target = targetOf(ledger, receiptId);
      const said = { verb: "correct", says: worded("text", text) };
      return { receiptId: await amended(parts, { kind: "CORRECTION", target, mask: 0, ...said }) };
    },

    async redact({ receiptId, fields, reason }) {
      const target = targetOf(ledger, receiptId);
      const names = fieldsNamed("fields", fields.length === 0 ? PAYLOAD_FIELDS : fields);
      const mask = names.reduce((m, f) => m | (1 << PAYLOAD_FIELDS.indexOf(f)), 0);
      const said = { verb: `redact ${names.join(",")}`, says: worded("reason", reason) };
      return { receiptId: await amended(parts, { kind: "REDACTION", target, mask, ...said }) };
    },

    async *export(request) {
      const { fromSeq, toSeq, disclose, receiptIds } = request;
      await ledger.flushed();
      const evidence = evidenceOf(parts);
      if (receiptIds.length > 0) {
        yield* chunks(exportSingles(parts, evidence, receiptIds, disclose));
        return;
      }
      const chosen = await coveringRange(parts, request);
      const range = chosen ?? {
        from: Number(fromSeq) || 1,
        to: Number(toSeq) || evidence.head.size,
      };
      const fields = fieldsNamed("disclose", disclose);
      if (range.from < 1 || range.from > range.to || range.to > evidence.head.size) {
        const detail = `from_seq, to_seq: ${range.from} to ${range.to} is not within 1 to ${evidence.head.size}`;
        throw new StatusError("INVALID_ARGUMENT", "ARGUMENT_INVALID", detail);
      }
      yield* chunks(exportPack(parts.crypto, genesis.tenantId, [evidence], choice(range, fields)));
    },
  };
}

/** @throws StatusError for what is no payload field. */
const fieldsNamed = (where: string, names: readonly string[]): PayloadField[] =>
  names.map((name) => {
    const field = PAYLOAD_FIELDS.find((f) => f === name);
    if (field !== undefined) return field;
    const detail = `${where}: ${name} is none of ${PAYLOAD_FIELDS.join(", ")}`;
    throw new StatusError("INVALID_ARGUMENT", "ARGUMENT_INVALID", detail);
  });

/** @throws StatusError when it is no sentence for people. */
function worded(where: string, text: string): string {
  if (text !== "" && isPrintable(text) && Buffer.byteLength(text) <= amendTextMax) return text;
  const detail = `${where}: say in printable words, at most ${amendTextMax} bytes, what people will read`;
  throw new StatusError("INVALID_ARGUMENT", "ARGUMENT_INVALID", detail);
}

function targetOf(ledger: WorkLedger, receiptId: string): StoredReceipt {
  const found = findReceipt(ledger, receiptId);
  if (found !== null) return found;
  throw new StatusError("NOT_FOUND", "NO_SUCH_OBJECT", `receipt_id: no receipt ${receiptId} here`);
}

interface Amendment {
  readonly kind: "CORRECTION" | "REDACTION";
  readonly target: StoredReceipt;
  readonly mask: number;
  readonly verb: string;
  readonly says: string;
}

/** A receipt that speaks of an earlier one, under the lease adopted last. */
async function amended(
  { crypto, ledger, leases, authority }: AdminParts,
  { kind, target, mask, verb, says }: Amendment,
): Promise<string> {
  const lease = leases.entries().at(-1);
  const unmet = (detail: string) => new StatusError("FAILED_PRECONDITION", "STATE_UNFIT", detail);
  if (lease === undefined)
    throw unmet("no lease was ever held here, and a receipt of this kind cites one");
  const { receiptId } = ReceiptHeader.decode(SignedBytes.decode(target.signed).body);
  try {
    const amendment = await ledger.amend({
      kind,
      seq: target.seq,
      mask,
      leaseRef: refOf(crypto, "lease", lease.body),
      manifestHash: authority.genesis.body.manifestHash,
      goal: GoalBody.encode({
        ...GoalBody.empty(),
        version: 1,
        purpose: "by an operator of this machine",
      }),
      action: ActionBody.encode({ ...ActionBody.empty(), version: 1, verb, path: receiptId }),
      outcome: OutcomeBody.encode({ ...OutcomeBody.empty(), version: 1, status: says }),
    });
    if (amendment !== null) return amendment;
  } catch (error) {
    if (!(error instanceof LedgerUnavailable)) throw error;
    throw new StatusError("UNAVAILABLE", "LEDGER_UNAVAILABLE", error.message);
  }
  throw unmet(
    `${receiptId} is kept in the clear, by a release before this one: what was written cannot be taken back`,
  );
}

/** Receipts by themselves. @throws StatusError where one is not here, or not yet countersigned. */
function exportSingles(
  { crypto, ledger, authority }: AdminParts,
  evidence: LedgerEvidence,
  receiptIds: readonly string[],
  disclose: readonly string[],
): AsyncGenerator<Uint8Array> {
  const seqs = new Set(receiptIds.map((id) => targetOf(ledger, id).seq));
  const singles = [...seqs].sort((a, b) => a - b);
  const held = ledger.acknowledgedSeq;
  const last = singles.at(-1) as number;
  if (evidence.checkpoints.length === 0 || last > cosignedSize(evidence)) {
    const detail = `receipt_ids: no countersigned head covers receipt ${last} yet (${held} are held)`;
    throw new StatusError("FAILED_PRECONDITION", "STATE_UNFIT", detail);
  }
  const fields = fieldsNamed("disclose", disclose);
  const chosen = fields.length === 0 ? { singles } : { singles, disclose: fields };
  return exportPack(crypto, authority.genesis.body.tenantId, [evidence], chosen);
}

/** The second line of a note is its size. */
const cosignedSize = ({ checkpoints }: LedgerEvidence): number =>
  Math.max(0, ...checkpoints.map((note) => Number(note.split("\n")[1])));

const choice = (range: { from: number; to: number }, disclose: readonly PayloadField[]) =>
  disclose.length === 0 ? { range } : { range, disclose };

function evidenceOf({ ledger, authority, leases, memory }: AdminParts): LedgerEvidence {
  return {
    genesis: encodeSigned(authority.genesis.signed),
    keysets: [encodeSigned(authority.keyset.signed)],
    manifests: [authority.manifestBytes],
    grants: [encodeSigned(authority.grant.signed)],
    docks: [encodeSigned(authority.dock.signed)],
    leases: leases.entries().map(encodeSigned),
    revocations: authority.revocations.map((r) => encodeSigned(r.signed)),
    heartbeats: memory.beats().map(encodeSigned),
    transitions: [],
    checkpoints: memory.notes(),
    head: ledger.head(),
    read: (fromSeq, limit) => ledger.read(fromSeq, limit),
    openIntents: ledger.openIntents(),
  };
}

async function* chunks(pack: AsyncIterable<Uint8Array>) {
  let held: Uint8Array[] = [];
  let size = 0;
  for await (const part of pack) {
    held.push(part);
    size += part.length;
    if (size < packChunkBytes) continue;
    yield { chunk: new Uint8Array(Buffer.concat(held)) };
    held = [];
    size = 0;
  }
  if (size > 0) yield { chunk: new Uint8Array(Buffer.concat(held)) };
}

const entryOf = ({ seq, signed, row }: StoredReceipt) => ({
  seq: BigInt(seq),
  receipt: storedToWire(signed),
  payload: row,
});

/** Ids are given in opening order, receipts stand in closing order: near each other, not alike. */
function findReceipt(ledger: WorkLedger, receiptId: string): StoredReceipt | null {
  for (let seq = ledger.head().size; seq > 0; seq -= entriesPageMax) {
    const from = Math.max(1, seq - entriesPageMax + 1);
    const page = ledger.read(from, seq - from + 1);
    const hit = page.find(
      (r) => ReceiptHeader.decode(SignedBytes.decode(r.signed).body).receiptId === receiptId,
    );
    if (hit !== undefined) return hit;
  }
  return null;
}
