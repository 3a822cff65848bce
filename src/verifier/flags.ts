import { flagRangesMax } from "../domain/limits.ts";
import type { ByteList } from "./lists.ts";

/** Bit f−1 of each of the five payload fields. */
const ALL_FIELDS = 31;

/** What a verdict does not say by itself. None of these breaks a pack; all of them are printed. */
export const FLAGS = {
  UNPINNED: "no trust file was given: the pack vouches for itself",
  UNANCHORED_TAIL: "receipts after the newest cosigned head",
  STALE_CHECKPOINT: "the newest cosigned head is older than the trust file allows",
  RANGE:
    "only part of the ledger is shown: what came after it may have corrected or erased some of it",
  SINGLE: "receipts are shown one by one: what lies between them is not",
  OPEN_INTENT: "an action was begun and its end is not among the receipts shown",
  SCOPE_UNSHOWN: "the claim is withheld, so its decision cannot be repeated",
  WITHHELD: "a payload field is neither shown nor erased",
  OBSERVED:
    "an action that no scope allowed: its grant merely observed, and it would be refused now",
  ERASED: "a payload field was erased, and a later receipt says so",
  CLOCK_SET_BACK:
    "opened, by the sidecar's clock, before the action that it follows, under a new lease",
  RATE_EXCEEDED:
    "more actions in a minute than the lease allows, by the sidecar's wall clock, which may have been set",
  AFTER_COSIGNATURE:
    "closed, by the sidecar's clock, more than a minute after a head over it was countersigned",
  OTHER_MANIFEST: "a boot or a denial measured another manifest than the ledger was born with",
  REVOCATION_NOT_SHOWN: "not all revocations are shown",
  USED_AFTER_REVOCATION: "acted after a revocation took effect that had not reached it yet",
  UNRECORDED: "a lease that stands in no open record of the control plane's ledger",
  STATES_DIFFER: "the changes of state shown are not those that the control plane's ledger has",
  UNKNOWN_SIGNER: "a note carries a line by a key that nobody vouches for",
  KNOWN_HEAD_UNUSED: "the head held by the auditor is of a ledger that is not in the pack",
} as const;
export type FlagName = keyof typeof FLAGS;

/** `at` are inclusive ranges of seqs (of intents for OPEN_INTENT, of leases for UNRECORDED), ascending; none: the pack. */
export interface Flag {
  readonly flag: FlagName;
  readonly ledger: string;
  readonly count: number;
  readonly at: readonly (readonly [number, number])[];
  readonly detail: string;
}

interface Open {
  count: number;
  readonly at: [number, number][];
  detail: string;
}

/** Gathers flags; runs of neighbours become one range, so a long ledger stays short to tell. */
export class Flags {
  readonly #open = new Map<FlagName, Open>();

  raise(flag: FlagName, index: number | null = null, detail = ""): void {
    const open = this.#open.get(flag) ?? { count: 0, at: [], detail };
    this.#open.set(flag, open);
    if (index === null) {
      open.count = Math.max(open.count, 1);
      open.detail = detail;
      return;
    }
    const last = open.at.at(-1);
    if (last !== undefined && index === last[1]) return;
    open.count++;
    if (last !== undefined && index === last[1] + 1) last[1] = index;
    else if (open.at.length < flagRangesMax) open.at.push([index, index]);
  }

  /** What is neither shown nor erased of the receipts of a line, and what is erased. */
  payloads(firstSeq: number, open: ByteList, erased: ByteList): void {
    for (let i = 0; i < open.length; i++) {
      if (erased.at(i) !== 0) this.raise("ERASED", firstSeq + i);
      if ((open.at(i) | erased.at(i)) !== ALL_FIELDS) this.raise("WITHHELD", firstSeq + i);
    }
  }

  has(flag: FlagName): boolean {
    return this.#open.has(flag);
  }

  /** For a flag that is a number and not a place: UNANCHORED_TAIL:n. */
  count(flag: FlagName, count: number, detail: string): void {
    if (count > 0) this.#open.set(flag, { count, at: [], detail });
  }

  list(ledger: string): Flag[] {
    return [...this.#open].map(([flag, { count, at, detail }]) => ({
      flag,
      ledger,
      count,
      at,
      detail,
    }));
  }
}
