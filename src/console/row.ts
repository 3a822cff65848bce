import { actionText } from "../domain/action-text.ts";
import { toHex } from "../domain/bytes.ts";
import { CodecError } from "../domain/canonical.ts";
import { ActionBody, PAYLOAD_FIELDS } from "../domain/payload.ts";
import type { ReceiptHeader } from "../domain/receipt.ts";
import type { ProvenRecord } from "../verifier/control-ledger.ts";
import type { Decision } from "../verifier/decision.ts";
import type { Disclosed } from "../verifier/payload.ts";
import type { Proven } from "../verifier/receipts.ts";

/** Where the body of a receipt's frame lies in the file, in bytes: enough to read it again. */
export interface Place {
  /** PROOF: it is shown by itself. */
  readonly frame: "RECEIPT" | "PROOF";
  readonly offset: number;
  readonly length: number;
}

/** A receipt that holds, as one line of the list. Texts are the pack's own and cut to `rowTextMax`. */
export interface Row extends Place {
  readonly seq: number;
  readonly kind: string;
  readonly verdict: string;
  readonly reason: string;
  readonly scope: string;
  /** How many identical denials it stands for. */
  readonly count: number;
  /** Microseconds since the epoch, by the sidecar's clock. */
  readonly openedAtUs: number;
  /** What was asked, as the claim has it, or what befell the ledger; null: withheld, or unreadable. */
  readonly action: string | null;
  readonly decision: Decision;
  /** Its grant merely observed, and no scope allowed it. */
  readonly observed: boolean;
  /** Payload fields that the pack does not lay open. */
  readonly withheld: number;
  /** H, hex. */
  readonly hash: string;
}

/** UTF-16 units: more than fits on a line, and bounded however many receipts there are. */
const rowTextMax = 160;

export function rowOf({ header, hash, contents, disclosed, decision }: Proven, place: Place): Row {
  const action = contents.claim ? actionText(contents.claim) : eventOf(disclosed);
  return row(header, hash, disclosed, place, action, decision);
}

/** The same of what the control plane recorded. */
export function rowOfRecord(proven: ProvenRecord, place: Place): Row {
  const { header, hash, disclosed, record } = proven;
  const asked = record?.method ? ` by ${record.method}` : "";
  return row(header, hash, disclosed, place, record && record.what + asked, "NONE");
}

function row(
  header: ReceiptHeader,
  hash: Uint8Array,
  disclosed: Disclosed,
  { frame, offset, length }: Place,
  action: string | null,
  decision: Decision,
): Row {
  const { seq, kind, verdict, reason, scope, count, openedAtUs, wouldDeny } = header;
  return {
    frame,
    offset,
    length,
    seq,
    kind,
    verdict,
    reason,
    scope: scope.slice(0, rowTextMax),
    count,
    openedAtUs,
    action: action?.slice(0, rowTextMax) ?? null,
    decision,
    observed: wouldDeny !== "UNSPECIFIED",
    withheld: PAYLOAD_FIELDS.filter((f) => disclosed.data[f] === null).length,
    hash: toHex(hash),
  };
}

/** What a ledger tells of itself stands in the action's verb: `boot`. */
function eventOf({ data }: Disclosed): string | null {
  if (data.action === null || data.action.length === 0) return null;
  try {
    return ActionBody.decode(data.action).verb || null;
  } catch (error) {
    if (error instanceof CodecError) return null;
    throw error;
  }
}
