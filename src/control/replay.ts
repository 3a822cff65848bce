import { equal, toHex } from "../domain/bytes.ts";
import type { Crypto } from "../domain/crypto.ts";
import type { GenesisBody } from "../domain/genesis.ts";
import { type Invalid, invalid, isInvalid } from "../domain/invalid.ts";
import type { Verified } from "../domain/signed.ts";
import type { ControlStore } from "../storage/control-store.ts";
import { Projection } from "./projection.ts";
import { reopen } from "./reopen.ts";
import { readSnapshot, type Snapshot } from "./snapshot.ts";
import { LEDGER_LOG, TenantFailed, type TenantWorld } from "./tenant.ts";
import type { TenantKeys } from "./tenant-keys.ts";
import { openStored, type StoredRecord, signerAfter, TenantLedger } from "./tenant-ledger.ts";

/** Rows read at once. */
const PAGE = 512;
/** Rows between two that are wanted, up to which reading on is cheaper than looking for the second. */
const SKIPPED_MAX = 4;
/**
 * Signatures verified at the end of a ledger on loading. The last one stands for everything that it
 * is chained to.
 */
const TAIL_VERIFIED = 64;

/** What a tenant's stored ledger says. */
export interface Replayed {
  readonly ledger: TenantLedger;
  readonly view: Projection;
  /** receipt_id of the last record; absent: there is none. */
  readonly lastReceiptId: string | undefined;
  /** Where the snapshot ends that it was begun from: what is before was not walked. null: all was. */
  readonly begun: { readonly seq: number; readonly leafHash: Uint8Array } | null;
}

interface Parts {
  readonly world: TenantWorld;
  readonly genesis: Verified<GenesisBody>;
  readonly keys: TenantKeys;
}

/**
 * Replays a tenant's ledger: from its snapshot and what was recorded since, or from its first record,
 * if there is no snapshot or it does not fit.
 * @throws TenantFailed when the ledger does not verify, or ends before its own snapshot.
 */
export async function replay(parts: Parts): Promise<Replayed> {
  const { world, genesis, keys } = parts;
  const { crypto, store, say } = world;
  const { tenantId } = genesis.body;
  const size = await store.size(tenantId, LEDGER_LOG);
  const of = { tenantId, ledgerId: genesis.ref, signers: keys.controlLedger };
  const snapshot = await readSnapshot(store, crypto, of);
  const walkAll = (why: Invalid): void =>
    say(`tenant ${tenantId}: all ${size} records are replayed: its snapshot: ${why.detail}`);
  if (snapshot === null || isInvalid(snapshot)) {
    if (snapshot !== null) walkAll(snapshot);
    return walk(parts, fromGenesis(parts), size, null);
  }
  // What was acknowledged is gone: were it served, what was revoked meanwhile would be in force again.
  if (snapshot.body.size > size) {
    throw new TenantFailed(
      `tenant ${tenantId}: its ledger has ${size} records, and had ${snapshot.body.size} when a snapshot ` +
        "of it was signed: restore a backup (dragons control restore)",
    );
  }
  const begun = await fromSnapshot(parts, snapshot);
  if (!isInvalid(begun)) return walk(parts, begun, size, null);
  walkAll(begun);
  return walk(parts, fromGenesis(parts), size, snapshot);
}

const fromGenesis = ({ world: { crypto, random }, genesis, keys }: Parts): Replayed => ({
  ledger: new TenantLedger(crypto, genesis, keys.controlLedger, random),
  view: new Projection(),
  lastReceiptId: undefined,
  begun: null,
});

/** Applies the records that a snapshot names. Invalid: they are not what it was made of. */
async function fromSnapshot(parts: Parts, snapshot: Snapshot): Promise<Replayed | Invalid> {
  const { world, genesis, keys } = parts;
  const { crypto, store, random } = world;
  const { tenantId } = genesis.body;
  const { body, kept, lists } = snapshot;
  const { size, lastHash, frontier } = body;
  const view = new Projection();
  let signerKey = genesis.body.ledgerKey;
  for await (const { seq, value } of rowsAt(store, tenantId, kept)) {
    const stored = openStored(crypto, genesis.ref, value, `seq ${seq}`);
    if (isInvalid(stored)) return stored;
    const problem = apply(crypto, view, stored, seq);
    if (problem !== null) return problem;
    if (stored.record.what === "keyset" && view.keyset !== null) {
      signerKey = signerAfter(signerKey, view.keyset.body);
    }
  }
  // Of each record its leaf hash is in this, in their order; the leaf hash is of its own seq as well.
  if (!equal(view.kept.digest(crypto), body.keptHash)) {
    return invalid("E_LEDGER", "its records are not those that are stored");
  }
  if (!equal(signerKey, snapshot.signerKey)) {
    return invalid("E_KEY_UNKNOWN", "it is not signed by the key whose place it was");
  }
  const [end] = await store.read(tenantId, LEDGER_LOG, { from: size, limit: 1 });
  if (end === undefined) return invalid("E_LEDGER", "the record that it ends with is missing");
  const last = openStored(crypto, genesis.ref, end.value, `seq ${size}`);
  if (isInvalid(last)) return last;
  if (!equal(last.leafHash, lastHash)) {
    return invalid("E_LEDGER", "it is of another history than the one that is stored");
  }
  view.takeLists(lists);
  const endOf = { chain: { size, lastHash, frontier }, signerKey };
  return {
    ledger: new TenantLedger(crypto, genesis, keys.controlLedger, random, endOf),
    view,
    lastReceiptId: last.header.receiptId,
    begun: { seq: size, leafHash: lastHash },
  };
}

/**
 * Walks the chain from where `begun` stands to its end. `contradicted` is a snapshot that did not fit: the
 * ledger that it was signed of must still be this one.
 */
async function walk(
  { world: { crypto, store }, genesis }: Parts,
  begun: Replayed,
  size: number,
  contradicted: Snapshot | null,
): Promise<Replayed> {
  const { tenantId } = genesis.body;
  const { ledger, view } = begun;
  const failed = (why: string) => new TenantFailed(`tenant ${tenantId}: ${why}`);
  let { lastReceiptId } = begun;
  for (let from = ledger.size + 1; from <= size; from += PAGE) {
    for (const { seq, value } of await store.read(tenantId, LEDGER_LOG, { from, limit: PAGE })) {
      const record = ledger.restore(value, seq > size - TAIL_VERIFIED);
      if (isInvalid(record)) throw failed(record.detail);
      const problem = apply(crypto, view, record, seq);
      if (problem !== null) throw failed(problem.detail);
      lastReceiptId = record.header.receiptId;
      const { body } = contradicted ?? {};
      if (seq === body?.size && !equal(record.leafHash, body.lastHash)) {
        throw failed(
          `record ${seq} is ${toHex(record.leafHash)}, and was ${toHex(body.lastHash)} when a snapshot was signed`,
        );
      }
    }
  }
  if (ledger.size !== size) throw failed("ledger has a gap");
  return { ...begun, lastReceiptId };
}

/** Invalid: it is no artifact of its kind. */
function apply(
  crypto: Crypto,
  view: Projection,
  record: StoredRecord,
  seq: number,
): Invalid | null {
  const entry = reopen(crypto, record);
  if (isInvalid(entry)) return invalid(entry.code, `seq ${seq}: ${entry.detail}`);
  const { leafHash, header } = record;
  view.apply(entry, { seq, recordedAtUs: header.openedAtUs, leafHash });
  return null;
}

/** The rows of a log with these seqs, which ascend. What is missing is left out. */
async function* rowsAt(store: ControlStore, tenantId: string, seqs: readonly number[]) {
  for (let at = 0; at < seqs.length; ) {
    const from = seqs[at] as number;
    let to = from;
    const wanted = new Set<number>();
    for (; at < seqs.length; at++) {
      const seq = seqs[at] as number;
      if (seq - to > SKIPPED_MAX + 1 || seq - from >= PAGE) break;
      wanted.add(seq);
      to = seq;
    }
    for (const row of await store.read(tenantId, LEDGER_LOG, { from, limit: to - from + 1 })) {
      if (wanted.has(row.seq)) yield row;
    }
  }
}
