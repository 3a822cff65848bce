import { AlarmBody } from "../domain/alarm.ts";
import { equal, toHex, utf8 } from "../domain/bytes.ts";
import { CodecError } from "../domain/canonical.ts";
import {
  type Appended,
  Chain,
  type ChainState,
  commitment,
  leafHash,
  newChainState,
  payloadHash,
} from "../domain/chain.ts";
import type { Crypto, Signer } from "../domain/crypto.ts";
import { GENESIS, type GenesisBody } from "../domain/genesis.ts";
import { type IdGenerator, newId } from "../domain/ids.ts";
import { type Invalid, invalid, isInvalid } from "../domain/invalid.ts";
import { controlLedgerKey, KEYSET, type KeysetBody } from "../domain/keyset.ts";
import { PAYLOAD_FIELDS, type PayloadRow } from "../domain/payload.ts";
import { RECEIPT, ReceiptHeader } from "../domain/receipt.ts";
import { RecordBody, RecordRow } from "../domain/record.ts";
import { pae, SignedBytes, type Verified } from "../domain/signed.ts";
import { encodeSigned, openSigned, refOf, signBody } from "../domain/signing.ts";
import type { Recordable } from "./projection.ts";

const ABSENT = new Uint8Array(0);

/** Field numbers of a payload: where a record's facts and its artifact stand. */
const ACTION = PAYLOAD_FIELDS.indexOf("action") + 1;
const OUTCOME = PAYLOAD_FIELDS.indexOf("outcome") + 1;

/** Who asked for a record, and how. */
export interface Asked {
  /** Login key of an operator; absent: the control plane itself. */
  readonly actor?: Uint8Array | undefined;
  readonly method?: string | undefined;
  readonly requestId?: string | undefined;
}

/** A record with its place in the chain, still to be signed. */
export interface Chained {
  readonly seq: number;
  readonly body: Uint8Array;
  /** 32 bytes. */
  readonly leafHash: Uint8Array;
  readonly payload: PayloadRow;
  /** Whose place it is to sign it. */
  readonly signer: Signer;
}

/** One entry of a tenant ledger, laid open. */
export interface OpenRecord {
  readonly seq: number;
  readonly receipt: SignedBytes;
  readonly header: ReceiptHeader;
  readonly record: RecordBody;
  readonly artifact: Uint8Array;
}

/** A stored record whose payload is what its receipt commits to. Its bytes are views of the row. */
export interface StoredRecord extends OpenRecord {
  /** 32 bytes. */
  readonly leafHash: Uint8Array;
}

/** Where a ledger ends, and who signs what comes next. */
export interface LedgerEnd {
  readonly chain: Pick<ChainState, "size" | "lastHash" | "frontier">;
  readonly signerKey: Uint8Array;
}

/** Birth of a tenant ledger: role CONTROL, signed by its own key alone. */
export async function controlGenesis(
  crypto: Crypto,
  facts: { tenantId: string; signer: Signer; nonce: Uint8Array; nowUs: number },
): Promise<Verified<GenesisBody>> {
  const body: GenesisBody = {
    ...GENESIS_EMPTY,
    version: 1,
    role: "CONTROL",
    tenantId: facts.tenantId,
    ledgerKey: facts.signer.publicKey,
    nonce: facts.nonce,
    createdAtUs: facts.nowUs,
  };
  const signed = await signBody(GENESIS, body, [facts.signer]);
  return { body, signed, ref: refOf(crypto, "genesis", signed.body) };
}

const GENESIS_EMPTY: GenesisBody = {
  version: 0,
  role: "UNSPECIFIED",
  tenantId: "",
  instanceId: "",
  ledgerKey: ABSENT,
  manifestHash: ABSENT,
  dockRef: ABSENT,
  joinKey: ABSENT,
  nonce: ABSENT,
  createdAtUs: 0,
  predecessor: ABSENT,
};

/** The recorded bytes as they stand in the outcome field. */
function artifactBytes(entry: Recordable): Uint8Array {
  switch (entry.what) {
    case "manifest":
      return entry.artifact.bytes;
    case "head":
      return utf8(entry.artifact);
    case "equivocation":
      return entry.artifact;
    case "alarm":
      return AlarmBody.encode(entry.artifact);
    default:
      return encodeSigned(entry.artifact.signed);
  }
}

/**
 * The ledger that a control plane keeps of one tenant, in the format of every other ledger. Chaining
 * is synchronous, so that records follow the order in which they were decided; signing follows. Its
 * key is the genesis's until a keyset is recorded, and from there on the one that the keyset names: a
 * keyset that hands over is signed by the key before it, as the last that it signs.
 */
export class TenantLedger {
  readonly ledgerId: Uint8Array;
  readonly #crypto: Crypto;
  readonly #chain: Chain;
  readonly #random: (n: number) => Uint8Array;
  #signers: readonly Signer[];
  /** Whose signature stands on the next record. */
  #signerKey: Uint8Array;

  /** It goes on from `end`; absent: from its genesis. */
  constructor(
    crypto: Crypto,
    genesis: Verified<GenesisBody>,
    signers: readonly Signer[],
    random: (n: number) => Uint8Array,
    end?: LedgerEnd,
  ) {
    this.#crypto = crypto;
    this.ledgerId = genesis.ref;
    const born = newChainState(genesis.ref, genesis.body.tenantId);
    this.#chain = new Chain(crypto, { ...born, ...end?.chain });
    this.#signers = signers;
    this.#signerKey = end?.signerKey ?? genesis.body.ledgerKey;
    this.#random = random;
  }

  /** The key, 32 bytes, by which the next record is signed. */
  get signerKey(): Uint8Array {
    return this.#signerKey;
  }

  /** Signs the next record; null: its key is not held here, and nothing can be recorded. */
  get signer(): Signer | null {
    return this.#signers.find((s) => equal(s.publicKey, this.#signerKey)) ?? null;
  }

  /** Further keys were made. */
  holdKeys(signers: readonly Signer[]): void {
    this.#signers = signers;
  }

  get size(): number {
    return this.#chain.size;
  }

  end(): LedgerEnd {
    return { chain: this.#chain.state(), signerKey: this.#signerKey };
  }

  append(entry: Recordable, asked: Asked, ids: IdGenerator, nowUs: number): Chained {
    const receiptId = newId("rcp", ids);
    const record: RecordBody = {
      version: 1,
      what: entry.what,
      actor: asked.actor ?? ABSENT,
      method: asked.method ?? "",
      requestId: asked.requestId ?? "",
    };
    const data = new Map([
      [ACTION, RecordBody.encode(record)],
      [OUTCOME, artifactBytes(entry)],
    ]);
    const openings = PAYLOAD_FIELDS.map((_, i) => ({
      field: i + 1,
      salt: this.#random(32),
      data: data.get(i + 1) ?? ABSENT,
    }));
    const commitments = openings.map((o) =>
      commitment(this.#crypto, { ...o, ledgerId: this.ledgerId, intentSeq: 0, receiptId }),
    );
    const { header, body, hash }: Appended = this.#chain.append({
      receiptId,
      manifestHash: ABSENT,
      leaseRef: ABSENT,
      kind: "RECORD",
      verdict: "COMPLETED",
      reason: "UNSPECIFIED",
      scope: "",
      openedAtUs: nowUs,
      closedAtUs: nowUs,
      egressLastUs: 0,
      intentSeq: 0,
      count: 1,
      payloadHash: payloadHash(this.#crypto, commitments),
      refersTo: ABSENT,
      redactedMask: 0,
      wouldDeny: "UNSPECIFIED",
      spentBytes: 0,
    });
    const { signer } = this;
    // Whoever records a keyset looks first whether it names a key that is held here.
    if (signer === null) throw new Error(`no key ${toHex(this.#signerKey)} to sign records with`);
    if (entry.what === "keyset") this.#follow(entry.artifact.body);
    const payload = { commitments, openings };
    return { seq: header.seq, body, leafHash: hash, payload, signer };
  }

  #follow(keyset: KeysetBody): void {
    this.#signerKey = signerAfter(this.#signerKey, keyset);
  }

  /** The row to store for a chained record. */
  async seal({ body, payload, signer }: Chained): Promise<Uint8Array> {
    const value = await signer.sign(pae(RECEIPT.name, body));
    const receipt = { body, signatures: [{ key: signer.publicKey, value }] };
    return RecordRow.encode({ receipt, payload });
  }

  /**
   * Takes back the next stored row, on loading: its place in the chain, its commitments and, if
   * asked, its signature. What does not follow is Invalid, and nothing may be built on it.
   */
  restore(row: Uint8Array, checkSignature: boolean): StoredRecord | Invalid {
    const at = `tenant ledger, seq ${this.size + 1}`;
    const stored = openStored(this.#crypto, this.ledgerId, row, at);
    if (isInvalid(stored)) return stored;
    if (checkSignature) {
      const verified = openSigned(this.#crypto, RECEIPT, stored.receipt);
      if (isInvalid(verified)) return verified;
      if (!verified.signers.every((key) => equal(key, this.#signerKey))) {
        return invalid("E_KEY_UNKNOWN", `${at}: not signed by the ledger's key`);
      }
    }
    // Chaining the same header again gives the same bytes only if it stood exactly here.
    const { hash } = this.#chain.append(stored.header);
    if (!equal(hash, stored.leafHash)) {
      return invalid("E_LEDGER", `${at}: does not follow the receipt before it`);
    }
    if (stored.record.what === "keyset") {
      const { body: keyset } = SignedBytes.decode(stored.artifact);
      this.#follow(KEYSET.body.decode(keyset));
    }
    return stored;
  }
}

/** Whose signature stands on the record after a keyset's. */
export const signerAfter = (before: Uint8Array, keyset: KeysetBody): Uint8Array =>
  controlLedgerKey(keyset) ?? before;

/**
 * A stored row laid open. That its payload is what was committed to is said; where it stands, and by whom
 * it is signed, is not. `at` is put before what is wrong.
 */
export function openStored(
  crypto: Crypto,
  ledgerId: Uint8Array,
  row: Uint8Array,
  at: string,
): StoredRecord | Invalid {
  try {
    return openCommitted(crypto, ledgerId, row, at);
  } catch (error) {
    if (error instanceof CodecError) return invalid("E_ENCODING", `${at}: ${error.message}`);
    throw error;
  }
}

function openCommitted(
  crypto: Crypto,
  ledgerId: Uint8Array,
  row: Uint8Array,
  at: string,
): StoredRecord | Invalid {
  const { receipt, payload } = RecordRow.view(row);
  const opened = laidOpen(receipt, ReceiptHeader.view(receipt.body), payload);
  const { receiptId } = opened.header;
  if (payload.commitments.length !== PAYLOAD_FIELDS.length) {
    return invalid("E_LEDGER", `${at}: has ${payload.commitments.length} commitments`);
  }
  for (const opening of payload.openings) {
    const c = commitment(crypto, { ...opening, ledgerId, intentSeq: 0, receiptId });
    if (!equal(c, payload.commitments[opening.field - 1] ?? ABSENT)) {
      return invalid("E_LEDGER", `${at}: field ${opening.field} is not what was committed to`);
    }
  }
  if (!equal(payloadHash(crypto, payload.commitments), opened.header.payloadHash)) {
    return invalid("E_LEDGER", `${at}: payload_hash does not match`);
  }
  return { ...opened, leafHash: leafHash(crypto, receipt.body) };
}

/** @throws CodecError when the row is not one that `seal` made. */
export function openRecord(row: Uint8Array): OpenRecord {
  const { receipt, payload } = RecordRow.decode(row);
  return laidOpen(receipt, ReceiptHeader.decode(receipt.body), payload);
}

function laidOpen(receipt: SignedBytes, header: ReceiptHeader, payload: PayloadRow): OpenRecord {
  const data = (field: number): Uint8Array =>
    payload.openings.find((o) => o.field === field)?.data ?? ABSENT;
  return {
    seq: header.seq,
    receipt,
    header,
    record: RecordBody.decode(data(ACTION)),
    artifact: data(OUTCOME),
  };
}
