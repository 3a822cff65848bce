import { equal, toHex } from "../domain/bytes.ts";
import type { CodecError } from "../domain/canonical.ts";
import { leafHash } from "../domain/chain.ts";
import { DIRECTIVE } from "../domain/directive.ts";
import { DOCK } from "../domain/dock.ts";
import { GENESIS, GenesisBody, verifyControlGenesis } from "../domain/genesis.ts";
import { GRANT } from "../domain/grant.ts";
import { HEARTBEAT } from "../domain/heartbeat.ts";
import { isInvalid } from "../domain/invalid.ts";
import { controlLedgerKey, KEYSET, type KeysetBody } from "../domain/keyset.ts";
import { LEASE } from "../domain/lease.ts";
import { ManifestBody } from "../domain/manifest.ts";
import { PAYLOAD_FIELDS } from "../domain/payload.ts";
import type { ReceiptHeader } from "../domain/receipt.ts";
import { RecordBody } from "../domain/record.ts";
import { REVOCATION } from "../domain/revocation.ts";
import { SignedBytes, type SignedKind, type Verified } from "../domain/signed.ts";
import { TRANSITION } from "../domain/transition.ts";
import type { Parts } from "./ahead.ts";
import { decodeStrictly, proveKeysets, type Root } from "./authority.ts";
import { type Break, broken, codeOf, isBroken } from "./checks.ts";
import { passed, placeProblem, readEntry } from "./entry.ts";
import { Flags } from "./flags.ts";
import { type Disclosed, openPayload } from "./payload.ts";
import { type Compared, Recorded } from "./recorded.ts";
import {
  type Given,
  type Preamble,
  pinHeads,
  proveHeads,
  type Section,
  startLine,
  tailProblem,
} from "./section.ts";

/** The control plane's own ledger of the tenant, ready for its records. */
export interface ControlLedger extends Section {
  readonly role: "CONTROL";
  readonly keysets: number;
  readonly keyset: KeysetBody;
  /** What it has of the sections before it. */
  readonly recorded: Recorded;
}

/** One thing that the control plane recorded. */
export interface ProvenRecord {
  readonly header: ReceiptHeader;
  readonly hash: Uint8Array;
  readonly disclosed: Disclosed;
  /** null: withheld. */
  readonly record: RecordBody | null;
  readonly artifact: Uint8Array | null;
}

/** Whether a genesis says that it is the control plane's. What does not decode is judged as a work ledger's. */
export function isControl(genesis: Uint8Array): boolean {
  const signed = decodeStrictly("GENESIS", SignedBytes, genesis);
  if (isBroken(signed)) return false;
  const body = decodeStrictly("GENESIS", GenesisBody, signed.body);
  return !isBroken(body) && body.role === "CONTROL";
}

const FOREIGN = [
  "MANIFEST",
  "GRANT",
  "DOCK",
  "LEASE",
  "REVOCATION",
  "HEARTBEAT",
  "TRANSITION",
] as const satisfies readonly (keyof Preamble)[];

/** Checks 3, 7 and 12, and every head pinned: those of checkpoints, and those in the leases of earlier sections. */
export function openControl(given: Given, others: readonly Compared[]): ControlLedger | Break {
  const { crypto, frames, root, trust } = given;
  const keysets = proveKeysets(crypto, frames.KEYSET, root);
  if (isBroken(keysets)) return keysets;
  const stray = FOREIGN.find((kind) => frames[kind].length > 0);
  if (stray !== undefined) {
    return broken("FRAMES", "E_PACK_ORDER", 0, `${stray} does not stand in a control ledger`);
  }
  const keyset = [...keysets.values()].at(-1) as Verified<KeysetBody>;
  const genesis = proveGenesis(given, keyset, root);
  if (isBroken(genesis)) return genesis;
  const authority = { tenantId: root.tenant, keyset, genesis };
  const flags = new Flags();
  const heads = proveHeads(given, { ...authority, signers: everSigner(keyset.body) }, flags);
  if (isBroken(heads)) return heads;
  const started = startLine(given, authority, flags);
  if (isBroken(started)) return started;
  const { line } = started;
  const id = toHex(genesis.ref);
  const ledger: ControlLedger = {
    role: "CONTROL",
    id,
    line,
    heads,
    keysets: keysets.size,
    keyset: keyset.body,
    recorded: new Recorded(crypto, others),
  };
  if (line.firstSeq > 1) line.signers = everSigner(ledger.keyset);
  for (const { body } of others.flatMap((o) => o.leases)) {
    if (body.controlSize === 0) continue;
    const who = `lease ${body.leaseId}`;
    const pin = { size: body.controlSize, root: body.controlRoot };
    line.tree.pin({ ...pin, code: "E_CONTROL_HEAD", who });
  }
  pinHeads(ledger, trust);
  return line.tree.compare() ?? ledger;
}

function proveGenesis(
  { crypto, frames }: Given,
  keyset: Verified<KeysetBody>,
  { tenant }: Root,
): Verified<GenesisBody> | Break {
  const signed = decodeStrictly("GENESIS", SignedBytes, frames.GENESIS);
  if (isBroken(signed)) return signed;
  const body = decodeStrictly("GENESIS", GENESIS.body, signed.body);
  if (isBroken(body)) return body;
  if (body.tenantId !== tenant) {
    return broken("GENESIS", "E_TENANT_MISMATCH", 0, `the ledger is of tenant ${body.tenantId}`);
  }
  const problem = crypto.keyProblem(body.ledgerKey);
  if (problem !== null) return broken("GENESIS", problem, 0, "the ledger key is not sound");
  const genesis = verifyControlGenesis(crypto, signed, keyset, body.createdAtUs);
  return isInvalid(genesis)
    ? broken("GENESIS", codeOf("GENESIS", genesis), 0, genesis.detail)
    : genesis;
}

/** Checks 20 to 37 on the next record, as far as a record has what they ask. */
export function proveRecord(
  ledger: ControlLedger,
  parts: Parts | CodecError,
): ProvenRecord | Break {
  const { line } = ledger;
  const { crypto } = line;
  const due = line.lastSeq + 1;
  const entry = readEntry(line, parts, due);
  if (isBroken(entry)) return entry;
  const { header, body, row } = entry;
  const misplaced = placeProblem(line, header) ?? shapeProblem(line.genesis.ref, header);
  if (misplaced !== null) return misplaced;
  const disclosed = openPayload(crypto, header, row);
  if (isBroken(disclosed)) return disclosed;
  const contents = readRecord(header.seq, disclosed);
  if (isBroken(contents)) return contents;
  const hash = leafHash(crypto, body);
  const forked = line.tree.place(hash, due);
  if (forked !== null) return forked;
  passed(line, entry, hash, disclosed.openMask);
  follow(ledger, contents);
  const { record, artifact } = contents;
  if (record !== null && artifact !== null) ledger.recorded.take(header.seq, { record, artifact });
  return { header, hash, disclosed, ...contents };
}

/** All that ever could sign: where the key's record is not shown, its place in the chain is not known. */
const everSigner = ({ keys }: KeysetBody): Uint8Array[] =>
  keys.filter((k) => k.role === "CONTROL_LEDGER").map((k) => k.key);

/** A keyset that is recorded names who signs what follows it. */
function follow({ line, keyset }: ControlLedger, { record, artifact }: RecordContents): void {
  if (record !== null && record.what !== "keyset") return;
  if (record === null || artifact === null) {
    line.signers = everSigner(keyset);
    return;
  }
  const next = controlLedgerKey(KEYSET.body.decode(SignedBytes.decode(artifact).body));
  if (next !== null) line.signers = [next];
}

/** A record says nothing but what its payload holds. */
function shapeProblem(ledgerId: Uint8Array, header: ReceiptHeader): Break | null {
  const { seq, kind, verdict, count, openedAtUs, version } = header;
  const bad = (why: string) => broken("SHAPE", "E_RECEIPT_FIELDS", seq, why);
  if (version !== 1) return bad(`version ${version} is not 1`);
  if (openedAtUs === 0) return bad("it does not say when it was recorded");
  if (kind !== "RECORD") return bad(`a control ledger has no ${kind}`);
  if (verdict !== "COMPLETED" || count !== 1) return bad("a record is one, and completed");
  const { intentSeq, intentsOpened, egressLastUs, redactedMask, spentBytes } = header;
  const numbers = [intentSeq, intentsOpened, egressLastUs, redactedMask, spentBytes];
  const hashes = [header.leaseRef, header.manifestHash, header.refersTo];
  const plain =
    numbers.every((n) => n === 0) &&
    hashes.every((h) => h.length === 0) &&
    header.reason === "UNSPECIFIED" &&
    header.wouldDeny === "UNSPECIFIED" &&
    header.scope === "";
  if (!plain) return bad("a record has neither lease, intent nor reason");
  return equal(header.intentsHead, ledgerId) ? null : bad("its intent head is not the ledger's id");
}

type RecordContents = Pick<ProvenRecord, "record" | "artifact">;

const KINDS: Partial<Record<RecordBody["what"], SignedKind<unknown>>> = {
  keyset: KEYSET,
  grant: GRANT,
  dock: DOCK,
  genesis: GENESIS,
  lease: LEASE,
  revocation: REVOCATION,
  transition: TRANSITION,
  directive: DIRECTIVE,
  heartbeat: HEARTBEAT,
};

/** What was recorded, as far as it is shown: facts in the action, the thing itself in the outcome. */
function readRecord(at: number, { data }: Disclosed): RecordContents | Break {
  const bad = (what: string) => broken("CONTENT", "E_EVIDENCE_EMPTY", at, what);
  if (data.action?.length === 0) return bad("it does not say what was recorded");
  if (data.outcome?.length === 0) return bad("what was recorded is empty");
  for (const field of PAYLOAD_FIELDS) {
    const other = field !== "action" && field !== "outcome";
    if (other && (data[field]?.length ?? 0) > 0) return bad(`a record has no ${field}`);
  }
  const artifact = data.outcome;
  if (data.action === null) return { record: null, artifact };
  const record = decodeStrictly("CONTENT", RecordBody, data.action, at);
  if (isBroken(record) || artifact === null)
    return isBroken(record) ? record : { record, artifact };
  if (record.what === "manifest") {
    const manifest = decodeStrictly("CONTENT", ManifestBody, artifact, at);
    return isBroken(manifest) ? manifest : { record, artifact };
  }
  const kind = KINDS[record.what];
  if (kind === undefined) return { record, artifact };
  const signed = decodeStrictly("CONTENT", SignedBytes, artifact, at);
  if (isBroken(signed)) return signed;
  const body = decodeStrictly("CONTENT", kind.body, signed.body, at);
  return isBroken(body) ? body : { record, artifact };
}

/** Check 40. */
export const closeControl = (ledger: ControlLedger): Break | null => tailProblem(ledger);
