import { equal, toHex } from "../domain/bytes.ts";
import type { CodecError } from "../domain/canonical.ts";
import { leafHash } from "../domain/chain.ts";
import type { LeaseBody } from "../domain/lease.ts";
import type { ReceiptHeader } from "../domain/receipt.ts";
import { isLifted, touches } from "../domain/revocation.ts";
import type { Verified } from "../domain/signed.ts";
import type { Parts } from "./ahead.ts";
import type { Authority } from "./authority.ts";
import { type Break, broken, isBroken } from "./checks.ts";
import { type Decision, decideAgain } from "./decision.ts";
import { type Line, passed, placeProblem, readEntry } from "./entry.ts";
import type { Intents } from "./intents.ts";
import type { LeaseBook } from "./lease-book.ts";
import type { LimitBook } from "./limit-book.ts";
import { type Contents, type Disclosed, openPayload, readContents } from "./payload.ts";

/** Where the walk along one work ledger stands. */
export interface Walk extends Line {
  readonly authority: Authority;
  readonly leases: LeaseBook;
  readonly intents: Intents;
  readonly limits: LimitBook;
  intentsOpened: number;
}

/** A receipt that holds, with what it shows. */
export interface Proven {
  readonly header: ReceiptHeader;
  readonly hash: Uint8Array;
  readonly contents: Contents;
  readonly disclosed: Disclosed;
  readonly decision: Decision;
  /** The lease that it cites; null: none. */
  readonly lease: Verified<LeaseBody> | null;
}

/** Checks 20 to 38 on the next receipt, in their order. */
export function proveReceipt(walk: Walk, parts: Parts | CodecError): Proven | Break {
  const { crypto } = walk;
  const due = walk.lastSeq + 1;
  const entry = readEntry(walk, parts, due);
  if (isBroken(entry)) return entry;
  const { header, body, row } = entry;
  const misplaced = placeProblem(walk, header) ?? saysProblem(walk, header);
  if (misplaced !== null) return misplaced;
  const judged = judge(walk, header, row);
  if (isBroken(judged)) return judged;
  const { lease, disclosed, contents } = judged;

  const hash = leafHash(crypto, body);
  const inconsistent =
    intentProblem(walk, header, judged) ??
    referenceProblem(walk, header) ??
    walk.tree.place(hash, due) ??
    limitProblem(walk, header, lease, contents);
  if (inconsistent !== null) return inconsistent;

  passed(walk, entry, hash, disclosed.openMask);
  walk.intentsOpened = header.intentsOpened;
  return { header, hash, ...judged };
}

/** Checks 27 and 28. */
export const saysProblem = (walk: Walk, header: ReceiptHeader): Break | null =>
  shapeProblem(walk, header) ?? manifestProblem(walk, header);

type Judged = Pick<Proven, "lease" | "disclosed" | "contents" | "decision">;

/** Checks 29 to 33: what a receipt says by itself, held against lease, manifest and what is open of it. */
export function judge(walk: Walk, header: ReceiptHeader, row: Uint8Array): Judged | Break {
  const lease = coverage(walk, header);
  if (isBroken(lease)) return lease;
  const disclosed = openPayload(walk.crypto, header, row);
  if (isBroken(disclosed)) return disclosed;
  const contents = readContents(header, disclosed);
  if (isBroken(contents)) return contents;
  const decision = decideAgain(walk.authority, header, lease, contents, disclosed);
  return isBroken(decision) ? decision : { lease, disclosed, contents, decision };
}

/** What a receipt of each kind must and must not say. */
function shapeProblem(walk: Walk, header: ReceiptHeader): Break | null {
  const { seq, kind, verdict, reason, count, intentSeq, egressLastUs } = header;
  const bad = (why: string) => broken("SHAPE", "E_RECEIPT_FIELDS", seq, why);
  if (header.version !== 1) return bad(`version ${header.version} is not 1`);
  if (header.openedAtUs === 0) return bad("it does not say when it opened");
  if (seq === 1 && kind !== "LIFECYCLE") return bad("receipt 1 is not the boot");
  const needsLease = kind !== "DENIAL" && kind !== "LIFECYCLE";
  if (needsLease && header.leaseRef.length === 0) return bad(`${kind} without a lease`);
  const refers = kind === "CORRECTION" || kind === "REDACTION";
  if (refers !== header.refersTo.length > 0)
    return bad(`${kind} and what it refers to do not go together`);
  if (kind !== "ACTION" && header.spentBytes !== 0) return bad(`${kind} spends bytes`);
  if ((kind === "REDACTION") !== header.redactedMask > 0 || header.redactedMask > 31)
    return bad(`${kind} and the fields it erases do not go together`);
  const observed = header.wouldDeny !== "UNSPECIFIED";
  if (observed && kind !== "ACTION") return bad(`a ${kind} that was merely observed`);
  if (intentSeq > header.intentsOpened) return bad("it closes an intent that was not opened");
  if (header.intentsOpened < walk.intentsOpened)
    return bad("fewer intents than the receipt before");
  switch (kind) {
    case "ACTION":
      if (intentSeq === 0) return bad("an action without an intent");
      if (count !== 1) return bad("an action stands for one action");
      if (verdict === "DENIED" || verdict === "UNSPECIFIED")
        return bad(`an action that is ${verdict}`);
      if (verdict === "COMPLETED" && reason !== "UNSPECIFIED")
        return bad(`completed, yet ${reason}`);
      if (observed) walk.flags.raise("OBSERVED", seq);
      return header.scope === "" && !observed ? bad("an action outside every scope") : null;
    case "DENIAL":
      if (verdict !== "DENIED") return bad(`a denial that is ${verdict}`);
      if (reason === "UNSPECIFIED") return bad("a denial without a reason");
      if (egressLastUs !== 0) return bad("denied, yet something was forwarded");
      if (count === 0) return bad("a denial that stands for none");
      return intentSeq > 0 && count !== 1
        ? bad("a denial that closes an intent stands for one")
        : null;
    case "LIFECYCLE":
    case "CORRECTION":
    case "REDACTION":
      if (intentSeq !== 0 || egressLastUs !== 0) return bad(`${kind} acts on nothing`);
      return count === 1 ? null : bad(`${kind} stands for one event`);
    default:
      return bad(`a work ledger has no ${kind}`);
  }
}

/** Work is done under the ledger's own manifest; only a boot or a denial may tell of another. */
function manifestProblem({ authority, flags }: Walk, header: ReceiptHeader): Break | null {
  const { genesis, manifests } = authority;
  if (equal(header.manifestHash, genesis.body.manifestHash)) return null;
  if (header.kind === "LIFECYCLE" || header.kind === "DENIAL") {
    flags.raise("OTHER_MANIFEST", header.seq);
    return null;
  }
  const shown = manifests.has(toHex(header.manifestHash));
  return broken(
    "RECEIPT_MANIFEST",
    shown ? "E_MANIFEST_MISMATCH" : "E_MANIFEST_MISSING",
    header.seq,
    "it was made under another manifest than its ledger's",
  );
}

/**
 * The lease that a receipt cites, if any; for an action, proven to hold from its opening to the last
 * byte that left. The interval is half-open and there is no leeway.
 */
function coverage(walk: Walk, header: ReceiptHeader): Verified<LeaseBody> | null | Break {
  const { seq, openedAtUs, egressLastUs } = header;
  if (header.leaseRef.length === 0) return null;
  const lease = walk.leases.cite(header.leaseRef);
  if (lease === null) {
    return broken("COVERAGE", "E_LEASE_MISSING", seq, "the lease that it cites is not in the pack");
  }
  if (header.kind !== "ACTION") return lease;
  const { leaseId, notBeforeUs, notAfterUs, leaseSeq } = lease.body;
  if (openedAtUs < notBeforeUs) {
    return broken("COVERAGE", "E_LEASE_NOT_YET", seq, `opened before ${leaseId} began`);
  }
  if (openedAtUs >= notAfterUs) {
    return broken("COVERAGE", "E_LEASE_EXPIRED", seq, `opened when ${leaseId} had expired`);
  }
  // After a crash nobody knows when the last byte left: judged at its opening alone.
  const until =
    header.verdict === "INDETERMINATE" ? openedAtUs : Math.max(egressLastUs, openedAtUs);
  if (!walk.leases.covers(lease, header.scope, until)) {
    return broken("COVERAGE", "E_LEASE_COVERAGE", seq, "bytes left when no lease was held");
  }
  const later = walk.leases.bySeq(leaseSeq + 2);
  if (later !== null && header.intentSeq > later.body.intentsOpened) {
    const what = `${leaseId} was used after lease ${leaseSeq + 2} had pinned ${later.body.intentsOpened} intents`;
    return broken("COVERAGE", "E_HEAD_LAG", seq, what);
  }
  return revocationProblem(walk, header, lease) ?? lease;
}

/**
 * A revocation that the lease's issuer had already counted breaks; one that had not reached the
 * sidecar yet is told, since a partitioned sidecar is honest.
 */
function revocationProblem(
  walk: Walk,
  header: ReceiptHeader,
  lease: Verified<LeaseBody>,
): Break | null {
  const { keyset, revocations, grants, docks, genesis } = walk.authority;
  if (revocations.length === 0) return null;
  const dock = docks.get(toHex(genesis.body.dockRef));
  const rests = [lease, grants.get(toHex(lease.body.grantRef)), dock];
  const signers = rests.flatMap((a) => a?.signed.signatures.map((s) => s.key) ?? []);
  for (const { body } of revocations) {
    const hits = touches(body, { lease, signers }) && !isLifted(keyset, revocations, body, lease);
    if (!hits || header.openedAtUs < body.effectiveUs) continue;
    if (lease.body.revocationEpoch >= body.epoch) {
      const what = `used after revocation ${body.epoch}, which its lease had taken into account`;
      return broken("COVERAGE", "E_LEASE_REVOKED", header.seq, what);
    }
    walk.flags.raise("USED_AFTER_REVOCATION", header.seq);
  }
  return null;
}

function intentProblem(
  walk: Walk,
  header: ReceiptHeader,
  { lease, disclosed }: Pick<Judged, "lease" | "disclosed">,
): Break | null {
  const { seq, intentSeq, intentsOpened, intentsHead, receiptId, openedAtUs } = header;
  // A link waits for those before it: many share the lease's own bytes rather than have theirs each.
  const leaseRef = lease?.ref ?? header.leaseRef;
  walk.intents.came(disclosed.claimCommitment !== null);
  walk.intents.state(intentsOpened, {
    head: intentsHead,
    code: "E_INTENT_CHAIN",
    index: seq,
    who: `receipt ${seq}`,
  });
  if (intentSeq > 0) {
    const link = { receiptId, leaseRef, openedAtUs, claimCommitment: disclosed.claimCommitment };
    const twice = walk.intents.link(intentSeq, link, seq);
    if (twice !== null) return twice;
  }
  return walk.intents.advance(seq);
}

function limitProblem(
  walk: Walk,
  header: ReceiptHeader,
  lease: Verified<LeaseBody> | null,
  contents: Contents,
): Break | null {
  if (header.intentSeq === 0) return null;
  const limits = lease?.body.scopes.find((s) => s.name === header.scope)?.limits ?? null;
  return walk.limits.close({ header, limits, contents });
}

function referenceProblem(walk: Walk, header: ReceiptHeader): Break | null {
  if (header.refersTo.length === 0) return null;
  const referred = walk.tree.seqOf(header.refersTo);
  if (referred === null) {
    // What lies before a range cannot be looked up; the chain still holds it.
    if (walk.firstSeq > 1) return null;
    const what = "it speaks of a receipt that this ledger has not";
    return broken("REFERENCE", "E_REF_UNKNOWN", header.seq, what);
  }
  const at = referred - walk.firstSeq;
  walk.erasedFields.set(at, walk.erasedFields.at(at) | header.redactedMask);
  if ((walk.openFields.at(at) & header.redactedMask) === 0) return null;
  const what = `it erases what receipt ${referred} still shows`;
  return broken("REFERENCE", "E_OPENING_REDACTED", header.seq, what);
}
