import { AlarmBody } from "../../domain/alarm.ts";
import { toHex } from "../../domain/bytes.ts";
import { DirectiveBody } from "../../domain/directive.ts";
import { DockBody } from "../../domain/dock.ts";
import { GenesisBody } from "../../domain/genesis.ts";
import { GrantBody } from "../../domain/grant.ts";
import { HeartbeatBody } from "../../domain/heartbeat.ts";
import { KeysetBody } from "../../domain/keyset.ts";
import { LeaseBody } from "../../domain/lease.ts";
import { ManifestBody, manifestLabel } from "../../domain/manifest.ts";
import { ReceiptHeader } from "../../domain/receipt.ts";
import { RevocationBody } from "../../domain/revocation.ts";
import { SignedBytes } from "../../domain/signed.ts";
import { TransitionBody } from "../../domain/transition.ts";
import { type Control, pages } from "../client.ts";
import { alarmText } from "./alarm.ts";

/** One record of the tenant ledger, as it is shown. */
export interface RecordView {
  readonly seq: number;
  readonly receiptId: string;
  readonly atUs: number;
  readonly what: string;
  /** What it says, in a few words. */
  readonly summary: string;
  /** Login key of the operator who asked, hex; empty: the control plane itself. */
  readonly actor: string;
  /** The RPC that asked, and its request_id; empty: none did, or it has none. */
  readonly method: string;
  readonly requestId: string;
}

/** The tenant ledger's head as the control plane signs it now, and as outside witnesses saw it last. */
export async function tenantCheckpoint(
  control: Control,
): Promise<{ readonly name: string; readonly note: string; readonly witnessed: string }> {
  const { note, witnessedNote } = await control.audit.getCheckpoint({});
  return { name: note.slice(0, note.indexOf("\n")), note, witnessed: witnessedNote };
}

/** Everything that was recorded and decided in the tenant, in order. */
export async function* listRecords(control: Control): AsyncGenerator<RecordView> {
  for await (const page of pages((pageToken) => control.audit.listRecords({ pageToken }))) {
    for (const { receipt, what, artifact, actor, method, requestId } of page.records) {
      const header = ReceiptHeader.decode(receipt?.body ?? new Uint8Array(0));
      yield {
        seq: header.seq,
        receiptId: header.receiptId,
        atUs: header.openedAtUs,
        what,
        summary: summaryOf(what, artifact),
        actor: toHex(actor),
        method,
        requestId,
      };
    }
  }
}

/** Kinds that a newer control plane records and this command does not know have no summary. */
function summaryOf(what: string, artifact: Uint8Array): string {
  if (what === "manifest") return manifestLabel(ManifestBody.decode(artifact));
  if (what === "head") return headOf(artifact);
  if (what === "alarm") return alarmText(AlarmBody.decode(artifact));
  const summarise = SUMMARIES[what];
  return summarise === undefined ? "" : summarise(SignedBytes.decode(artifact).body);
}

const SUMMARIES: Readonly<Record<string, (body: Uint8Array) => string>> = {
  keyset: (b) => `version ${KeysetBody.decode(b).keysetVersion}`,
  grant: (b) => {
    const { grantId, purpose } = GrantBody.decode(b);
    return `${grantId}: ${purpose}`;
  },
  dock: (b) => DockBody.decode(b).dockId,
  genesis: (b) => `instance ${GenesisBody.decode(b).instanceId}`,
  lease: (b) => {
    const { leaseId, instanceId } = LeaseBody.decode(b);
    return `${leaseId} to ${instanceId}`;
  },
  revocation: (b) => {
    const { epoch, kind, reason } = RevocationBody.decode(b);
    return `epoch ${epoch}, ${kind.toLowerCase()}${reason === "" ? "" : `: ${reason}`}`;
  },
  transition: (b) => {
    const t = TransitionBody.decode(b);
    return `${t.instanceId} ${t.from} → ${t.to} (${t.cause === "CONDITION" ? t.condition : t.cause})`;
  },
  heartbeat: (b) => HeartbeatBody.decode(b).heartbeatId,
  directive: (b) => {
    const { kind, instanceId } = DirectiveBody.decode(b);
    return `${kind} to ${instanceId}`;
  },
};

function headOf(note: Uint8Array): string {
  const [origin, size] = new TextDecoder().decode(note).split("\n");
  return `${origin} at ${size}`;
}
