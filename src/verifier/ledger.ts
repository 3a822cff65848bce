import { equal, toHex } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";
import { HEARTBEAT, type HeartbeatBody, verifyHeartbeat } from "../domain/heartbeat.ts";
import { type Invalid, isInvalid } from "../domain/invalid.ts";
import { checkSigners } from "../domain/keyset.ts";
import type { SignedBytes, Verified } from "../domain/signed.ts";
import { TRANSITION, type TransitionBody } from "../domain/transition.ts";
import { must, openVersion1, sameTenant } from "../domain/verify.ts";
import { type Authority, decodeStrictly, each, proveAuthority, type Root } from "./authority.ts";
import { type CosignedHead, describeHead, proveCheckpoint } from "./checkpoints.ts";
import { type Break, broken, isBroken } from "./checks.ts";
import { Flags } from "./flags.ts";
import { HashList } from "./hash-list.ts";
import { Intents } from "./intents.ts";
import { LeaseBook } from "./lease-book.ts";
import { LimitBook } from "./limit-book.ts";
import { FrontierFrame, OpenIntentFrame as OpenIntentCodec, type OpenIntentFrame } from "./pack.ts";
import { ALL_FIELDS, type Walk } from "./receipts.ts";
import { Tree } from "./tree.ts";
import type { TrustFile } from "./trust-file.ts";

/** What stands before the receipts of one ledger. */
export interface Preamble {
  readonly GENESIS: Uint8Array;
  readonly KEYSET: Uint8Array[];
  readonly MANIFEST: Uint8Array[];
  readonly GRANT: Uint8Array[];
  readonly DOCK: Uint8Array[];
  readonly LEASE: Uint8Array[];
  readonly REVOCATION: Uint8Array[];
  readonly HEARTBEAT: Uint8Array[];
  readonly TRANSITION: Uint8Array[];
  readonly CHECKPOINT: Uint8Array[];
  readonly FRONTIER: Uint8Array[];
}

export const newPreamble = (genesis: Uint8Array): Preamble => ({
  GENESIS: genesis,
  KEYSET: [],
  MANIFEST: [],
  GRANT: [],
  DOCK: [],
  LEASE: [],
  REVOCATION: [],
  HEARTBEAT: [],
  TRANSITION: [],
  CHECKPOINT: [],
  FRONTIER: [],
});

/** One ledger, ready for its receipts. */
export interface Ledger {
  readonly id: string;
  readonly walk: Walk;
  readonly heartbeats: readonly Verified<HeartbeatBody>[];
  readonly transitions: readonly Verified<TransitionBody>[];
  readonly heads: readonly CosignedHead[];
  readonly openIntents: OpenIntentFrame[];
  /** Seq of the last receipt shown; leaves may follow it. */
  lastSeq: number;
}

/** Checks 3 to 12, and every signed head pinned to the tree and the intent chain to come. */
export function openLedger(
  crypto: Crypto,
  frames: Preamble,
  root: Root,
  trust: TrustFile | null,
): Ledger | Break {
  const authority = proveAuthority(crypto, frames, root);
  if (isBroken(authority)) return authority;
  const { genesis } = authority;
  const leases = new LeaseBook(authority.leases);
  const twice = leases.twice();
  if (twice !== null) {
    return broken("LEASE", "E_LEASE_DUP", 0, `two leases are number ${twice.body.leaseSeq}`);
  }
  const heartbeats = each("HEARTBEAT", frames.HEARTBEAT, HEARTBEAT, (signed) =>
    verifyHeartbeat(crypto, signed, genesis),
  );
  if (isBroken(heartbeats)) return heartbeats;
  const transitions = each("TRANSITION", frames.TRANSITION, TRANSITION, (signed) =>
    proveTransition(crypto, signed, authority),
  );
  if (isBroken(transitions)) return transitions;
  const flags = new Flags();
  const heads: CosignedHead[] = [];
  for (const bytes of frames.CHECKPOINT) {
    const head = proveCheckpoint(crypto, bytes, authority, trust, flags);
    if (isBroken(head)) return head;
    heads.push(head);
  }
  const walk = startWalk(crypto, authority, leases, flags, frames.FRONTIER);
  if (isBroken(walk)) return walk;
  const ledger: Ledger = {
    id: toHex(genesis.ref),
    walk,
    heartbeats: [...heartbeats.values()],
    transitions: [...transitions.values()],
    heads,
    openIntents: [],
    lastSeq: walk.firstSeq - 1,
  };
  pinHeads(ledger, trust);
  return walk.tree.compare() ?? walk.intents.advance(0) ?? ledger;
}

/** A change of state is the issuer's word, at the time that it gives, about this ledger. */
function proveTransition(
  crypto: Crypto,
  signed: SignedBytes,
  { keyset, genesis, tenantId }: Authority,
): Verified<TransitionBody> | Invalid {
  const opened = openVersion1(crypto, TRANSITION, signed);
  if (isInvalid(opened)) return opened;
  const { body, signers, verified } = opened;
  const times = { signedAtUs: body.atUs, nowUs: body.atUs };
  return (
    checkSigners("transition", keyset, "ISSUER", signers, times) ??
    sameTenant("transition.tenantId", body.tenantId, tenantId) ??
    must(
      equal(body.ledgerId, genesis.ref),
      "E_LEDGER",
      "transition.ledgerId is another ledger's",
    ) ??
    verified
  );
}

function startWalk(
  crypto: Crypto,
  authority: Authority,
  leases: LeaseBook,
  flags: Flags,
  frontiers: readonly Uint8Array[],
): Walk | Break {
  const ledgerId = authority.genesis.ref;
  const common = {
    crypto,
    authority,
    leases,
    flags,
    hashes: new HashList(),
    openFields: [],
    erased: new Map<number, number>(),
    ids: new Set<string>(),
    lastHeader: null,
  };
  const limitsFrom = (start: number) =>
    new LimitBook(flags, start, (scope) => leases.ceiling(scope, "maxBytes"));
  const [bytes, second] = frontiers;
  if (bytes === undefined) {
    return {
      ...common,
      tree: new Tree(crypto, { size: 0, nodes: [] }),
      intents: new Intents(crypto, flags, 0, ledgerId),
      limits: limitsFrom(0),
      firstSeq: 1,
      lastHash: ledgerId,
      intentsOpened: 0,
    };
  }
  if (second !== undefined) return broken("FRAMES", "E_PACK_ORDER", 0, "a ledger has one FRONTIER");
  const frontier = decodeStrictly("FRAMES", FrontierFrame, bytes);
  if (isBroken(frontier)) return frontier;
  const { size, nodes, last, intentsOpened, intentsHead } = frontier;
  let tree: Tree;
  try {
    tree = new Tree(crypto, { size, nodes });
  } catch {
    return broken(
      "FRAMES",
      "E_PACK_FRAME",
      0,
      `FRONTIER: ${nodes.length} nodes do not make a tree of ${size}`,
    );
  }
  if (last.length !== 32 || intentsHead.length !== 32 || nodes.some((n) => n.length !== 32)) {
    return broken("FRAMES", "E_PACK_FRAME", 0, "FRONTIER: a hash is missing");
  }
  const fault = tree.append(last);
  if (fault !== null) return fault;
  return {
    ...common,
    tree,
    intents: new Intents(crypto, flags, intentsOpened, intentsHead),
    limits: limitsFrom(intentsOpened),
    firstSeq: size + 2,
    lastHash: last,
    intentsOpened,
  };
}

/** Every head that somebody signed, or that the auditor holds, is to be met on the way. */
function pinHeads({ id, walk, heartbeats, heads }: Ledger, trust: TrustFile | null): void {
  const { tree, intents } = walk;
  for (const { body } of walk.leases.all()) {
    const who = `lease ${body.leaseId}`;
    tree.pin({ size: body.headSize, root: body.headRoot, code: "E_LEASE_HEAD", who });
    intents.state(body.intentsOpened, {
      head: body.intentsHead,
      code: "E_LEASE_HEAD",
      index: body.headSize,
      who,
    });
  }
  for (const { body } of heartbeats) {
    const who = `heartbeat ${body.heartbeatId}`;
    tree.pin({ size: body.size, root: body.root, code: "E_HEARTBEAT_HEAD", who });
    intents.state(body.intentsOpened, {
      head: body.intentsHead,
      code: "E_HEARTBEAT_HEAD",
      index: body.size,
      who,
    });
    walk.limits.state(body.intentsOpened, { spent: body.spent, index: body.size, who });
    walk.leases.cite(body.leaseRef);
  }
  for (const head of heads) {
    tree.pin({
      size: head.size,
      root: head.root,
      code: "E_FORK",
      who: `the cosigned ${describeHead(head)}`,
    });
  }
  if (trust?.knownHead && toHex(trust.knownHead.ledgerId) === id) {
    const { size, root } = trust.knownHead;
    tree.pin({ size, root, code: "E_FORK", who: `the head of ${size} that the auditor holds` });
  }
}

/** The row of an intent still open, in opening order. */
export function addOpenIntent(ledger: Ledger, bytes: Uint8Array): Break | null {
  const row = decodeStrictly("OPEN_INTENTS", OpenIntentCodec, bytes, ledger.lastSeq);
  if (isBroken(row)) return row;
  const last = ledger.openIntents.at(-1)?.intentSeq ?? 0;
  if (row.intentSeq <= last || row.claimCommitment.length !== 32 || row.leaseRef.length !== 32) {
    return broken(
      "OPEN_INTENTS",
      "E_INTENT_COUNT",
      ledger.lastSeq,
      `the row of open intent ${row.intentSeq} is malformed or out of order`,
    );
  }
  if (ledger.walk.leases.cite(row.leaseRef) === null) {
    return broken(
      "OPEN_INTENTS",
      "E_LEASE_MISSING",
      ledger.lastSeq,
      `the lease of open intent ${row.intentSeq} is not in the pack`,
    );
  }
  ledger.openIntents.push(row);
  ledger.walk.flags.raise("OPEN_INTENT", row.intentSeq);
  const closed = ledger.walk.intents.link(row.intentSeq, row, ledger.lastSeq);
  if (closed !== null) {
    const what = `intent ${row.intentSeq} is closed, and listed as open`;
    return broken("OPEN_INTENTS", "E_INTENT_COUNT", ledger.lastSeq, what);
  }
  return ledger.walk.intents.advance(ledger.lastSeq) ?? ledger.walk.limits.open(row.intentSeq);
}

/** Leaf hashes of receipts after the last one shown, 32 bytes each, end to end. */
export function addLeaves(ledger: Ledger, bytes: Uint8Array): Break | null {
  if (bytes.length === 0 || bytes.length % 32 !== 0) {
    return broken("FRAMES", "E_PACK_FRAME", 0, "LEAVES are not whole hashes");
  }
  for (let at = 0; at < bytes.length; at += 32) {
    const fault = ledger.walk.tree.append(bytes.subarray(at, at + 32));
    if (fault !== null) return fault;
  }
  return null;
}

/** Checks 40 to 42: what only the end of a ledger can tell. */
export function closeLedger(ledger: Ledger): Break | null {
  const { walk, lastSeq } = ledger;
  const { intents, tree, authority } = walk;
  if (lastSeq < walk.firstSeq) {
    return broken("FRAMES", "E_PACK_EMPTY", 0, "the pack shows no receipt of this ledger");
  }
  const beyond = tree.beyond();
  const missing =
    intents.missing() ?? (walk.intentsOpened > intents.known ? intents.known + 1 : null);
  // A cut tail loses intents too, and the tail is the reason: it is told first.
  if (beyond !== null) {
    const what = `have ${lastSeq}, attested ${beyond.size}: ${beyond.who} covers receipts that are not there`;
    return broken("TAIL", "E_TAIL_TRUNCATED", tree.size + 1, what);
  }
  if (missing !== null) {
    return broken(
      "OPEN_INTENTS",
      "E_INTENT_MISSING",
      lastSeq,
      `intent ${missing} is neither closed nor listed as open`,
    );
  }
  raiseHidden(walk);
  return unreferenced(authority, walk.leases);
}

/** What is not to be seen: erased, as a later receipt says, or withheld by whoever made the pack. */
function raiseHidden({ openFields, erased, flags, firstSeq }: Walk): void {
  for (const [i, open] of openFields.entries()) {
    const gone = erased.get(i) ?? 0;
    if (gone !== 0) flags.raise("ERASED", firstSeq + i);
    if ((open | gone) !== ALL_FIELDS) flags.raise("WITHHELD", firstSeq + i);
  }
}

function unreferenced(authority: Authority, leases: LeaseBook): Break | null {
  const stray = (what: string) =>
    broken("REFERENCED", "E_UNREFERENCED", 0, `nothing cites ${what}`);
  const lease = leases.all().find((l) => !leases.isReferenced(l));
  if (lease !== undefined) return stray(`lease ${lease.body.leaseId}`);
  const { genesis, docks, grants, manifests } = authority;
  for (const [ref, { body }] of docks) {
    if (ref !== toHex(genesis.body.dockRef)) return stray(`dock ${body.dockId}`);
  }
  const grantRefs = new Set([
    ...[...docks.values()].map((d) => toHex(d.body.grantRef)),
    ...leases.all().map((l) => toHex(l.body.grantRef)),
  ]);
  for (const [ref, { body }] of grants) {
    if (!grantRefs.has(ref)) return stray(`grant ${body.grantId}`);
  }
  const hashes = new Set([toHex(genesis.body.manifestHash)]);
  for (const { body } of grants.values()) hashes.add(toHex(body.manifestHash));
  for (const hash of manifests.keys()) {
    if (!hashes.has(hash)) return stray(`manifest ${hash}`);
  }
  return null;
}
