import { equal } from "../domain/bytes.ts";
import type { Codec } from "../domain/canonical.ts";
import { commitment, payloadHash } from "../domain/chain.ts";
import { type Claim, ClaimBody } from "../domain/claim.ts";
import type { Crypto } from "../domain/crypto.ts";
import {
  ActionBody,
  EvidenceBody,
  GoalBody,
  OutcomeBody,
  PAYLOAD_FIELDS,
  type PayloadField,
  PayloadRow,
} from "../domain/payload.ts";
import type { ReceiptHeader } from "../domain/receipt.ts";
import { decodeStrictly } from "./authority.ts";
import { type Break, broken, isBroken } from "./checks.ts";

/** What a receipt committed to, as far as the tenant lays it open. null: withheld. */
export interface Disclosed {
  /** c_5, which the intent chain carries; null: no row is shown. */
  readonly claimCommitment: Uint8Array | null;
  /** Bit f−1: field f is open. */
  readonly openMask: number;
  /** Views of the row. */
  readonly data: Readonly<Record<PayloadField, Uint8Array | null>>;
}

export interface Contents {
  readonly goal: ReturnType<typeof GoalBody.decode> | null;
  readonly action: ReturnType<typeof ActionBody.decode> | null;
  readonly evidence: ReturnType<typeof EvidenceBody.decode> | null;
  readonly outcome: ReturnType<typeof OutcomeBody.decode> | null;
  readonly claim: Claim | null;
}

const nothingShown = (): Record<PayloadField, Uint8Array | null> => ({
  goal: null,
  action: null,
  evidence: null,
  outcome: null,
  claim: null,
});

/** Holds a row against the signed payload hash, and every opening against its commitment. */
export function openPayload(
  crypto: Crypto,
  header: ReceiptHeader,
  rowBytes: Uint8Array,
): Disclosed | Break {
  const at = header.seq;
  if (rowBytes.length === 0) return { claimCommitment: null, openMask: 0, data: nothingShown() };
  const row = decodeStrictly("PAYLOAD", { decode: (b) => PayloadRow.view(b) }, rowBytes, at);
  if (isBroken(row)) return row;
  if (
    row.commitments.length !== PAYLOAD_FIELDS.length ||
    row.commitments.some((c) => c.length !== 32)
  ) {
    return broken("PAYLOAD", "E_PAYLOAD_ROW", at, "the payload row has not five commitments");
  }
  const found = payloadHash(crypto, row.commitments);
  if (!equal(found, header.payloadHash)) {
    return broken("PAYLOAD", "E_PAYLOAD_HASH", at, "the commitments do not give the payload hash", {
      differing: { expected: header.payloadHash, found },
    });
  }
  const data = nothingShown();
  let last = 0;
  let openMask = 0;
  for (const { field, salt, data: opened } of row.openings) {
    const name = PAYLOAD_FIELDS[field - 1];
    if (name === undefined || field <= last || salt.length !== 32) {
      return broken(
        "PAYLOAD",
        "E_PAYLOAD_ROW",
        at,
        `opening of field ${field} is malformed or out of order`,
      );
    }
    last = field;
    const committed = commitment(crypto, {
      field,
      ledgerId: header.ledgerId,
      intentSeq: header.intentSeq,
      receiptId: header.receiptId,
      salt,
      data: opened,
    });
    const stated = row.commitments[field - 1] as Uint8Array;
    if (!equal(committed, stated)) {
      return broken(
        "PAYLOAD",
        "E_OPENING_MISMATCH",
        at,
        `the ${name} shown is not the ${name} committed to`,
        { differing: { expected: stated, found: committed } },
      );
    }
    data[name] = opened;
    openMask |= 1 << (field - 1);
  }
  // It outlives the frame, where its intent closes before others do.
  return { claimCommitment: (row.commitments[4] as Uint8Array).slice(), openMask, data };
}

/** Reads what is open. An action that completed must say what for, what, how and with what outcome. */
export function readContents(header: ReceiptHeader, { data }: Disclosed): Contents | Break {
  const at = header.seq;
  if (header.kind === "ACTION") {
    // However it ended, an action was decided from a claim; a completed one has everything.
    const owed = header.verdict === "COMPLETED" ? PAYLOAD_FIELDS : (["claim"] as const);
    const empty = owed.find((f) => data[f]?.length === 0);
    if (empty !== undefined) {
      return broken("CONTENT", "E_EVIDENCE_EMPTY", at, `the ${empty} of the action is empty`);
    }
  }
  // Only work cycles have bodies of these shapes; a boot or a drift speaks in its own.
  if (header.kind !== "ACTION" && header.kind !== "DENIAL") {
    return { goal: null, action: null, evidence: null, outcome: null, claim: null };
  }
  const read = <T>(codec: Codec<T>, bytes: Uint8Array | null): T | null | Break =>
    bytes === null || bytes.length === 0 ? null : decodeStrictly("CONTENT", codec, bytes, at);
  const goal = read(GoalBody, data.goal);
  if (isBroken(goal)) return goal;
  const action = read(ActionBody, data.action);
  if (isBroken(action)) return action;
  const evidence = read(EvidenceBody, data.evidence);
  if (isBroken(evidence)) return evidence;
  const outcome = read(OutcomeBody, data.outcome);
  if (isBroken(outcome)) return outcome;
  const claim = read(ClaimBody, data.claim);
  if (isBroken(claim)) return claim;
  const cited =
    evidence === null || equal(evidence.leases[0] ?? new Uint8Array(0), header.leaseRef);
  if (header.kind === "ACTION" && !cited) {
    return broken(
      "CONTENT",
      "E_LEASE_COVERAGE",
      at,
      "the evidence begins with another lease than the receipt",
    );
  }
  return { goal, action, evidence, outcome, claim };
}
