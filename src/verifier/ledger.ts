import { equal, toHex } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";
import { beatLedger, HEARTBEAT, type HeartbeatBody, verifyHeartbeat } from "../domain/heartbeat.ts";
import { type Invalid, isInvalid } from "../domain/invalid.ts";
import { checkSigners } from "../domain/keyset.ts";
import type { SignedBytes, Verified } from "../domain/signed.ts";
import { TRANSITION, type TransitionBody } from "../domain/transition.ts";
import { must, openVersion1, sameTenant } from "../domain/verify.ts";
import { type Authority, decodeStrictly, each, proveAuthority } from "./authority.ts";
import { Brackets } from "./brackets.ts";
import { type Break, broken, isBroken } from "./checks.ts";
import { Flags } from "./flags.ts";
import { Intents } from "./intents.ts";
import { LeaseBook } from "./lease-book.ts";
import { LimitBook } from "./limit-book.ts";
import { OpenIntentFrame as OpenIntentCodec, type OpenIntentFrame } from "./pack.ts";
import type { Walk } from "./receipts.ts";
import {
  type Given,
  pinHeads,
  proveHeads,
  type Section,
  startLine,
  tailProblem,
} from "./section.ts";

/** One work ledger, ready for its receipts. */
export interface WorkLedger extends Section {
  readonly role: "WORK";
  readonly line: Walk;
  readonly heartbeats: readonly Verified<HeartbeatBody>[];
  readonly transitions: readonly Verified<TransitionBody>[];
  readonly openIntents: OpenIntentFrame[];
  readonly brackets: Brackets;
  /** Seqs of receipts that are shown by themselves; then nothing else of the ledger is. */
  readonly singles: number[];
}

/** Checks 3 to 12, and every signed head pinned to the tree and the intent chain to come. */
export function openLedger(given: Given): WorkLedger | Break {
  const { crypto, frames, root } = given;
  const authority = proveAuthority(crypto, frames, root);
  if (isBroken(authority)) return authority;
  const { genesis } = authority;
  const leases = new LeaseBook(authority.leases);
  const twice = leases.twice();
  if (twice !== null) {
    return broken("LEASE", "E_LEASE_DUP", 0, `two leases are number ${twice.body.leaseSeq}`);
  }
  const mine = beatLedger(genesis);
  const heartbeats = each("HEARTBEAT", frames.HEARTBEAT, HEARTBEAT, (signed) =>
    verifyHeartbeat(crypto, signed, mine),
  );
  if (isBroken(heartbeats)) return heartbeats;
  const transitions = each("TRANSITION", frames.TRANSITION, TRANSITION, (signed) =>
    proveTransition(crypto, signed, authority),
  );
  if (isBroken(transitions)) return transitions;
  const flags = new Flags();
  const heads = proveHeads(given, authority, flags);
  if (isBroken(heads)) return heads;
  const started = startLine(given, authority, flags);
  if (isBroken(started)) return started;
  const { line, intentsOpened, intentsHead } = started;
  const ledger: WorkLedger = {
    role: "WORK",
    id: toHex(genesis.ref),
    line: {
      ...line,
      authority,
      leases,
      intents: new Intents(crypto, flags, intentsOpened, intentsHead),
      limits: new LimitBook(flags, intentsOpened, (scope) => leases.ceiling(scope, "maxBytes")),
      intentsOpened,
    },
    heartbeats: [...heartbeats.values()],
    transitions: [...transitions.values()],
    heads,
    openIntents: [],
    brackets: new Brackets(heads, flags, line.firstSeq),
    singles: [],
  };
  pinStated(ledger);
  pinHeads(ledger, given.trust);
  return ledger.line.tree.compare() ?? ledger.line.intents.advance(0) ?? ledger;
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

/** What leases and heartbeats say of the ledger is to be met on the way. */
function pinStated({ line, heartbeats }: WorkLedger): void {
  const { tree, intents } = line;
  for (const { body } of line.leases.all()) {
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
    line.limits.state(body.intentsOpened, { spent: body.spent, index: body.size, who });
    line.leases.cite(body.leaseRef);
  }
}

/** The row of an intent still open, in opening order. */
export function addOpenIntent(ledger: WorkLedger, bytes: Uint8Array): Break | null {
  const row = decodeStrictly("OPEN_INTENTS", OpenIntentCodec, bytes, ledger.line.lastSeq);
  if (isBroken(row)) return row;
  const last = ledger.openIntents.at(-1)?.intentSeq ?? 0;
  if (row.intentSeq <= last || row.claimCommitment.length !== 32 || row.leaseRef.length !== 32) {
    return broken(
      "OPEN_INTENTS",
      "E_INTENT_COUNT",
      ledger.line.lastSeq,
      `the row of open intent ${row.intentSeq} is malformed or out of order`,
    );
  }
  if (ledger.line.leases.cite(row.leaseRef) === null) {
    return broken(
      "OPEN_INTENTS",
      "E_LEASE_MISSING",
      ledger.line.lastSeq,
      `the lease of open intent ${row.intentSeq} is not in the pack`,
    );
  }
  ledger.openIntents.push(row);
  ledger.line.flags.raise("OPEN_INTENT", row.intentSeq);
  const closed = ledger.line.intents.link(row.intentSeq, row, ledger.line.lastSeq);
  if (closed !== null) {
    const what = `intent ${row.intentSeq} is closed, and listed as open`;
    return broken("OPEN_INTENTS", "E_INTENT_COUNT", ledger.line.lastSeq, what);
  }
  return ledger.line.intents.advance(ledger.line.lastSeq) ?? ledger.line.limits.open(row.intentSeq);
}

/** Checks 40 to 42: what only the end of a ledger can tell. */
export function closeLedger(ledger: WorkLedger): Break | null {
  const { line } = ledger;
  const { intents, authority, lastSeq } = line;
  if (ledger.singles.length > 0) return unreferenced(authority, line.leases);
  const missing =
    intents.missing() ?? (line.intentsOpened > intents.known ? intents.known + 1 : null);
  // A cut tail loses intents too, and the tail is the reason: it is told first.
  const cut = tailProblem(ledger);
  if (cut !== null) return cut;
  const unclosed = intents.unclosed(line.intentsOpened);
  for (const intent of unclosed ?? []) line.flags.raise("OPEN_INTENT", intent);
  if (missing !== null && unclosed === null) {
    return broken(
      "OPEN_INTENTS",
      "E_INTENT_MISSING",
      lastSeq,
      `intent ${missing} is neither closed nor listed as open`,
    );
  }
  return unreferenced(authority, line.leases);
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
