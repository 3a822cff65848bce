import { concat, equal } from "../domain/bytes.ts";
import {
  bytes,
  CodecError,
  message,
  nested,
  repeated,
  str,
  u32,
  u64,
} from "../domain/canonical.ts";
import type { Crypto, Signer } from "../domain/crypto.ts";
import { type Invalid, invalid, isInvalid } from "../domain/invalid.ts";
import { snapshotPartBytes } from "../domain/limits.ts";
import { SignedBytes, type SignedKind } from "../domain/signed.ts";
import { openSigned, signBody } from "../domain/signing.ts";
import type { ControlStore, KeyWrite } from "../storage/control-store.ts";
import type { Projection, SeqLists } from "./projection.ts";
import { decodeSeqs, encodeSeqs } from "./seqs.ts";
import type { LedgerEnd } from "./tenant-ledger.ts";

/**
 * What a start needs to know of a tenant ledger's first `size` records, so that it need not walk them:
 * where the chain stands after them, and which of them the projection still follows from. Those are read,
 * held against `keptHash`, and applied; the records themselves are nowhere else.
 *
 * `tenant/snapshot` is the signed body, `tenant/snapshot/<n>` from 0 to `parts` − 1 its contents, cut up.
 * Signed by the key whose place it is to sign the record after it, when all that it speaks of is durable.
 */
export const SnapshotBody = message("snapshot", {
  version: u32(1),
  tenantId: str(2),
  ledgerId: bytes(3, 32),
  /** Records that it stands for. */
  size: u64(4),
  /** H of the last of them. */
  lastHash: bytes(5, 32),
  /** Frontier nodes of their tree, largest subtree first. */
  frontier: repeated(bytes(6, 32)),
  /** `Kept.digest` of the records that still count. */
  keptHash: bytes(7, 32),
  parts: u32(8),
  /** SHA-256 of the contents. */
  contentsHash: bytes(9, 32),
});
export type SnapshotBody = ReturnType<typeof SnapshotBody.decode>;

export const SNAPSHOT: SignedKind<SnapshotBody> = { name: "snapshot", body: SnapshotBody };

/** Of the form, and of what records do to a projection: a snapshot is read by the rule that it was made by. */
const SNAPSHOT_VERSION = 1;

/** Lists of seqs are written as the differences from each to the next. */
const ListsRow = message("snapshotLists", {
  instanceId: str(1),
  transitions: bytes(2),
  heartbeats: bytes(3),
});
const Contents = message("snapshotContents", {
  /** Records that still count. */
  kept: bytes(1),
  told: bytes(2),
  lists: repeated(nested(3, ListsRow)),
});

export const SNAPSHOT_KEY = "tenant/snapshot";
const partKey = (n: number): string => `${SNAPSHOT_KEY}/${n}`;

/** A snapshot as of one moment, not yet signed. */
export interface SnapshotDraft {
  readonly body: SnapshotBody;
  readonly contents: Uint8Array;
}

/** One that was read back, and is signed by a key that is held. That its records are those is not said yet. */
export interface Snapshot {
  readonly body: SnapshotBody;
  /** Who signed it. */
  readonly signerKey: Uint8Array;
  readonly kept: readonly number[];
  readonly lists: SeqLists;
}

/** Whose snapshot is asked for. */
export interface SnapshotOf {
  readonly tenantId: string;
  readonly ledgerId: Uint8Array;
  readonly signers: readonly Signer[];
}

export function draftSnapshot(
  crypto: Crypto,
  { tenantId, ledgerId }: Pick<SnapshotOf, "tenantId" | "ledgerId">,
  { chain }: LedgerEnd,
  view: Projection,
): SnapshotDraft {
  const instances = new Set([...view.transitions.keys(), ...view.heartbeats.keys()]);
  const contents = Contents.encode({
    kept: encodeSeqs(view.kept.seqs()),
    told: encodeSeqs(view.told),
    lists: Array.from(instances, (instanceId) => ({
      instanceId,
      transitions: encodeSeqs(view.transitions.get(instanceId) ?? []),
      heartbeats: encodeSeqs(view.heartbeats.get(instanceId) ?? []),
    })),
  });
  const body = {
    version: SNAPSHOT_VERSION,
    tenantId,
    ledgerId,
    size: chain.size,
    lastHash: chain.lastHash,
    frontier: [...chain.frontier],
    keptHash: view.kept.digest(crypto),
    parts: Math.ceil(contents.length / snapshotPartBytes),
    contentsHash: crypto.sha256(contents),
  };
  return { body, contents };
}

/** Its rows, to be written in one command. Parts of a longer one before it stay, and are read by nobody. */
export async function snapshotRows(
  { body, contents }: SnapshotDraft,
  signer: Signer,
): Promise<KeyWrite[]> {
  const signed = await signBody(SNAPSHOT, body, [signer]);
  const parts = Array.from({ length: body.parts }, (_, n) => ({
    key: partKey(n),
    value: contents.subarray(n * snapshotPartBytes, (n + 1) * snapshotPartBytes),
  }));
  return [{ key: SNAPSHOT_KEY, value: SignedBytes.encode(signed) }, ...parts];
}

/** null: there is none. Invalid: nothing of it may be believed. */
export async function readSnapshot(
  store: ControlStore,
  crypto: Crypto,
  of: SnapshotOf,
): Promise<Snapshot | Invalid | null> {
  const row = await store.get(of.tenantId, SNAPSHOT_KEY);
  if (row === null) return null;
  try {
    const opened = openBody(crypto, SignedBytes.decode(row.value), of);
    if (isInvalid(opened)) return opened;
    const parts: Uint8Array[] = [];
    for (let n = 0; n < opened.body.parts; n++) {
      const part = await store.get(of.tenantId, partKey(n));
      if (part === null) return invalid("E_FIELD", `part ${n} is missing`);
      parts.push(part.value);
    }
    const contents = concat(...parts);
    if (!equal(crypto.sha256(contents), opened.body.contentsHash)) {
      return invalid("E_FIELD", "its contents are not what was signed");
    }
    return { ...opened, ...readContents(contents) };
  } catch (error) {
    if (error instanceof CodecError) return invalid("E_ENCODING", error.message);
    throw error;
  }
}

/** Signed by one key, which is held, for this ledger, in the form of this release. */
function openBody(
  crypto: Crypto,
  signed: SignedBytes,
  { tenantId, ledgerId, signers }: SnapshotOf,
): Pick<Snapshot, "body" | "signerKey"> | Invalid {
  const opened = openSigned(crypto, SNAPSHOT, signed);
  if (isInvalid(opened)) return opened;
  const { body } = opened;
  const [signerKey, ...more] = opened.signers as [Uint8Array, ...Uint8Array[]];
  if (more.length > 0 || !signers.some((s) => equal(s.publicKey, signerKey))) {
    return invalid("E_KEY_UNKNOWN", "it is not signed by one key that is held here");
  }
  if (body.version !== SNAPSHOT_VERSION) {
    return invalid("E_VERSION", `its form is ${body.version}, and ${SNAPSHOT_VERSION} is read`);
  }
  if (body.tenantId !== tenantId || !equal(body.ledgerId, ledgerId)) {
    return invalid("E_LEDGER", "it is another ledger's");
  }
  // A frontier has a node for each bit of the size.
  const nodes = body.size.toString(2).replaceAll("0", "").length;
  if (body.size === 0 || body.frontier.length !== nodes) {
    return invalid("E_FIELD", `${body.frontier.length} nodes are no tree of ${body.size} records`);
  }
  return { body, signerKey };
}

/** @throws CodecError */
function readContents(encoded: Uint8Array): Pick<Snapshot, "kept" | "lists"> {
  const { kept, told, lists } = Contents.decode(encoded);
  const read: SeqLists = {
    told: decodeSeqs(told),
    transitions: new Map(),
    heartbeats: new Map(),
  };
  for (const { instanceId, transitions, heartbeats } of lists) {
    if (transitions.length > 0) read.transitions.set(instanceId, decodeSeqs(transitions));
    if (heartbeats.length > 0) read.heartbeats.set(instanceId, decodeSeqs(heartbeats));
  }
  return { kept: decodeSeqs(kept), lists: read };
}
