import type { CodecCode } from "../domain/canonical.ts";
import type { Invalid, InvalidCode } from "../domain/invalid.ts";

/**
 * Every check in the order in which it runs: the pack and its authority first (index 0), then each
 * receipt by seq, lowest check first, then what only the end can tell. The first that fails is the
 * verdict. docs/formats.md states them for whoever writes a verifier of their own.
 */
export const CHECKS = {
  FRAMES: { number: 1, says: "the file is a whole pack, every frame strict and in its place" },
  TENANT: { number: 2, says: "the pack is of the tenant that the trust file names" },
  KEYSET: { number: 3, says: "the tenant root signed the keyset" },
  MANIFEST: { number: 4, says: "each manifest is well formed" },
  GRANT: { number: 5, says: "operators signed each grant, over a manifest that is shown" },
  DOCK: { number: 6, says: "operators signed each dock, under a grant that is shown" },
  GENESIS: {
    number: 7,
    says: "a join key of the dock, and the ledger key, signed the genesis; the control plane's own key its own",
  },
  LEASE: { number: 8, says: "the issuer signed each lease, within its grant field by field" },
  REVOCATION: { number: 9, says: "revocations are signed and chained without a gap" },
  HEARTBEAT: { number: 10, says: "the ledger key signed each heartbeat" },
  TRANSITION: { number: 11, says: "the issuer signed each change of state" },
  CHECKPOINT: { number: 12, says: "each checkpoint is signed by the ledger and cosigned" },
  RECEIPT_ENCODING: { number: 20, says: "each receipt has its one encoding" },
  RECEIPT_OWNER: { number: 21, says: "each receipt is of this tenant and ledger" },
  RECEIPT_SIGNATURE: { number: 22, says: "the ledger key signed each receipt" },
  SEQUENCE: { number: 23, says: "receipts count without gap or repeat" },
  CHAIN: { number: 24, says: "each receipt carries the hash of the one before" },
  ID: { number: 25, says: "receipt ids are well formed and unique" },
  TIME: { number: 26, says: "no receipt closes before it opened" },
  SHAPE: { number: 27, says: "kind, verdict, reason and lease go together" },
  RECEIPT_MANIFEST: { number: 28, says: "each receipt names the manifest of the genesis" },
  COVERAGE: { number: 29, says: "a lease was held from the opening to the last byte that left" },
  PAYLOAD: { number: 30, says: "commitments give the payload hash, and openings the commitments" },
  CONTENT: {
    number: 31,
    says: "what is disclosed is well formed, and not empty where work was done",
  },
  CLAIM: { number: 32, says: "the claim is normal and is the action that was taken" },
  DECISION: {
    number: 33,
    says: "the gate's decision comes out the same from claim, manifest and lease",
  },
  INTENT: { number: 34, says: "each intent is closed once" },
  INTENT_CHAIN: {
    number: 35,
    says: "the intent chain is what receipts, leases and heartbeats say",
  },
  REFERENCE: { number: 36, says: "corrections and redactions speak of an earlier receipt" },
  HEADS: {
    number: 37,
    says: "every signed head is the root of these very receipts, and each is its leaf",
  },
  LIMITS: {
    number: 38,
    says: "what was left to spend, as claims say, follows from the actions before them, within the lease",
  },
  INCLUSION: {
    number: 39,
    says: "each receipt that is shown by itself stands in a countersigned tree",
  },
  TAIL: { number: 40, says: "nothing that a signed head covers is missing at the end" },
  OPEN_INTENTS: { number: 41, says: "every intent is closed or listed as open" },
  REFERENCED: { number: 42, says: "everything in the pack is cited by something" },
  HISTORY: { number: 43, says: "each change of state follows from what it cites, decided anew" },
  RECORDED: {
    number: 44,
    says: "each lease and change of state stands in the control plane's own ledger too",
  },
} as const;
export type CheckName = keyof typeof CHECKS;

export type ObjectName =
  | "KEYSET"
  | "MANIFEST"
  | "GRANT"
  | "DOCK"
  | "GENESIS"
  | "LEASE"
  | "REVOCATION"
  | "HEARTBEAT"
  | "TRANSITION"
  | "CP";

type Fault = "SIG" | "FIELD" | KeepSuffix<InvalidCode>;
type KeepSuffix<C> = C extends
  | "E_SIGNATURE"
  | "E_KEY_UNKNOWN"
  | "E_THRESHOLD"
  | "E_VERSION"
  | "E_FIELD"
  | "E_ENCODING"
  | "E_KEY_WEAK"
  | "E_KEY_NONCANONICAL"
  ? never
  : C extends `E_${infer S}`
    ? S
    : never;

export type CheckCode =
  | CodecCode
  | "E_PACK_EMPTY"
  | "E_PACK_MAGIC"
  | "E_PACK_KIND"
  | "E_PACK_FRAME"
  | "E_PACK_ORDER"
  | "E_PACK_TRUNCATED"
  | "E_PACK_TRAILING"
  | "E_KEY_WEAK"
  | "E_KEY_NONCANONICAL"
  | "E_KEY_UNKNOWN"
  | `E_${ObjectName}_${Fault}`
  | `E_${ObjectName}_DUP`
  | "E_KEYSET_MISSING"
  | "E_MANIFEST_MISSING"
  | "E_GRANT_MISSING"
  | "E_DOCK_MISSING"
  | "E_REVOCATION_GAP"
  | "E_CP_ORIGIN"
  | "E_CP_UNSIGNED"
  | "E_TENANT_MISMATCH"
  | "E_LEDGER_MISMATCH"
  | "E_LEDGER_DUP"
  | "E_RECEIPT_SIG"
  | "E_SEQ_GAP"
  | "E_SEQ_DUP"
  | "E_CHAIN_PREV"
  | "E_ID_FORMAT"
  | "E_ID_ORDER"
  | "E_ID_DUP"
  | "E_TIME_BACKWARDS"
  | "E_RECEIPT_FIELDS"
  | "E_MANIFEST_MISMATCH"
  | "E_LEASE_MISSING"
  | "E_LEASE_NOT_YET"
  | "E_LEASE_COVERAGE"
  | "E_LEASE_HEAD"
  | "E_HEAD_LAG"
  | "E_PAYLOAD_ROW"
  | "E_PAYLOAD_HASH"
  | "E_OPENING_MISMATCH"
  | "E_OPENING_REDACTED"
  | "E_EVIDENCE_EMPTY"
  | "E_SCOPE_NOT_NORMAL"
  | "E_CLAIM_ACTION"
  | "E_SCOPE_EXCEEDED"
  | "E_DECISION_DIFFERS"
  | "E_INTENT_DUP"
  | "E_INTENT_COUNT"
  | "E_INTENT_MISSING"
  | "E_INTENT_CHAIN"
  | "E_LIMIT_EXCEEDED"
  | "E_LIMIT_STATE"
  | "E_REF_UNKNOWN"
  | "E_HEARTBEAT_HEAD"
  | "E_CONTROL_HEAD"
  | "E_FORK"
  | "E_FORK_FIELD"
  | "E_FORK_SIG"
  | "E_FORK_NONE"
  | "E_LEAF_MISMATCH"
  | "E_PROOF_HEAD"
  | "E_PROOF_PATH"
  | "E_TAIL_TRUNCATED"
  | "E_UNREFERENCED";

/** Where and why a pack does not hold. */
export interface Break {
  readonly broken: true;
  readonly check: CheckName;
  readonly code: CheckCode;
  /** The seq that was due there; 0: the pack itself. */
  readonly index: number;
  /** The receipt that was most likely changed: the one before, when a link does not hold. */
  readonly suspect: number;
  readonly detail: string;
  /** The two hashes that should be one; null: it is not hashes that differ. */
  readonly differing: Differing | null;
}

export interface Differing {
  /** As something signed states it. */
  readonly expected: Uint8Array;
  /** As it comes out of what the pack shows. */
  readonly found: Uint8Array;
}

export const broken = (
  check: CheckName,
  code: CheckCode,
  index: number,
  detail: string,
  more: { readonly suspect?: number; readonly differing?: Differing } = {},
): Break => ({
  broken: true,
  check,
  code,
  index,
  suspect: more.suspect ?? index,
  detail,
  differing: more.differing ?? null,
});

export const isBroken = <T>(value: T | Break): value is Break =>
  typeof value === "object" && value !== null && "broken" in value && value.broken === true;

/**
 * An artifact's own fault in the verifier's words: `E_SIGNATURE` of a lease is `E_LEASE_SIG`. A wrong
 * key, or too few of them, is a wrong signature.
 */
export function codeOf(object: ObjectName, { code }: Invalid): CheckCode {
  switch (code) {
    case "E_KEY_WEAK":
    case "E_KEY_NONCANONICAL":
      return code;
    case "E_SIGNATURE":
    case "E_KEY_UNKNOWN":
    case "E_THRESHOLD":
      return `E_${object}_SIG`;
    case "E_VERSION":
    case "E_FIELD":
    case "E_ENCODING":
      return `E_${object}_FIELD`;
    default:
      return `E_${object}_${code.slice(2) as KeepSuffix<InvalidCode>}`;
  }
}
