import { equal, fromHex } from "../domain/bytes.ts";
import { CodecError } from "../domain/canonical.ts";
import type { Crypto } from "../domain/crypto.ts";
import type { GenesisBody } from "../domain/genesis.ts";
import { isId } from "../domain/ids.ts";
import { ReceiptHeader } from "../domain/receipt.ts";
import type { Verified } from "../domain/signed.ts";
import { type Parts, verifies } from "./ahead.ts";
import { decodeStrictly } from "./authority.ts";
import { type Break, broken, isBroken } from "./checks.ts";
import type { Flags } from "./flags.ts";
import { ByteList, ByteTable } from "./lists.ts";
import type { Tree } from "./tree.ts";

/** Where a reader stands in a ledger of any role. Some 60 bytes a receipt are kept, for what refers back. */
export interface Line {
  readonly crypto: Crypto;
  readonly tenantId: string;
  readonly genesis: Verified<GenesisBody>;
  readonly tree: Tree;
  readonly flags: Flags;
  readonly ids: ByteTable;
  /** Of every receipt shown, which payload fields are open, and which a later one erased: bit f−1. */
  readonly openFields: ByteList;
  readonly erasedFields: ByteList;
  /** Seq of the first receipt shown. */
  readonly firstSeq: number;
  /** Seq of the last one that held. */
  lastSeq: number;
  lastHash: Uint8Array;
  /** The next receipt is signed by one of these. */
  signers: readonly Uint8Array[];
}

/** A line before its first receipt. `lastHash`: of the one before; of the ledger, where there is none. */
export const newLine = (
  facts: Pick<Line, "crypto" | "tenantId" | "genesis" | "tree" | "flags" | "lastHash">,
): Line => ({
  ...facts,
  ids: new ByteTable(16),
  openFields: new ByteList(),
  erasedFields: new ByteList(),
  firstSeq: facts.tree.size + 1,
  lastSeq: facts.tree.size,
  signers: [facts.genesis.body.ledgerKey],
});

/** A receipt of this ledger, signed by its key. */
export interface Entry {
  readonly header: ReceiptHeader;
  readonly body: Uint8Array;
  /** PayloadRow; empty: none is kept. */
  readonly row: Uint8Array;
}

/** Checks 20 to 22, of a receipt wherever it stands. `due` is the index of what does not decode. */
export function readEntry(
  line: Pick<Line, "crypto" | "tenantId" | "genesis" | "signers">,
  parts: Parts | CodecError,
  due: number,
): Entry | Break {
  const { crypto, genesis, signers } = line;
  if (parts instanceof CodecError) {
    return broken("RECEIPT_ENCODING", parts.code, due, parts.message);
  }
  const { signed, row } = parts;
  const header = decodeStrictly("RECEIPT_ENCODING", ReceiptHeader, signed.body, due);
  if (isBroken(header)) return header;
  if (header.tenantId !== line.tenantId) {
    return broken("RECEIPT_OWNER", "E_TENANT_MISMATCH", due, `it is of tenant ${header.tenantId}`);
  }
  if (!equal(header.ledgerId, genesis.ref)) {
    return broken("RECEIPT_OWNER", "E_LEDGER_MISMATCH", due, "it is of another ledger");
  }
  const [signature, ...more] = signed.signatures;
  const bad = (code: "E_RECEIPT_SIG" | "E_KEY_UNKNOWN", what: string) =>
    broken("RECEIPT_SIGNATURE", code, due, what);
  if (signature === undefined || more.length > 0) {
    return bad("E_RECEIPT_SIG", "a receipt has exactly one signature");
  }
  if (!signers.some((key) => equal(key, signature.key))) {
    return bad("E_KEY_UNKNOWN", "signed by a key that is not this ledger's");
  }
  return verifies(crypto, parts, signature)
    ? { header, body: signed.body, row }
    : bad("E_RECEIPT_SIG", "its signature does not verify");
}

/** Checks 23 to 26: the receipt that is due, after the one before, with an id and times of its own. */
export const placeProblem = (line: Line, header: ReceiptHeader): Break | null =>
  sequenceProblem(line, header) ?? idProblem(line, header) ?? timeProblem(header);

/** Checks 25 and 26, of a receipt that is shown by itself. */
export const singleProblem = (line: Line, header: ReceiptHeader): Break | null =>
  idProblem(line, header) ?? timeProblem(header);

function sequenceProblem({ lastSeq, lastHash }: Line, header: ReceiptHeader): Break | null {
  const due = lastSeq + 1;
  if (header.seq > due) {
    return broken("SEQUENCE", "E_SEQ_GAP", due, `receipt ${header.seq} stands where ${due} is due`);
  }
  if (header.seq < due) {
    const what = `receipt ${header.seq} stands again where ${due} is due`;
    return broken("SEQUENCE", "E_SEQ_DUP", due, what);
  }
  if (equal(header.prevHash, lastHash)) return null;
  const what = `it does not carry the hash of receipt ${due - 1}`;
  return broken("CHAIN", "E_CHAIN_PREV", due, what, {
    suspect: Math.max(due - 1, 1),
    differing: { expected: header.prevHash, found: lastHash },
  });
}

/** Of its form, and new in this ledger. */
function idProblem({ ids }: Line, { seq, receiptId }: ReceiptHeader): Break | null {
  if (!isId("rcp", receiptId)) {
    return broken("ID", "E_ID_FORMAT", seq, `${JSON.stringify(receiptId)} is not a receipt id`);
  }
  const digits = fromHex(receiptId.slice(4));
  if (ids.indexOf(digits) >= 0) {
    return broken("ID", "E_ID_DUP", seq, `${receiptId} was used before`);
  }
  ids.push(digits);
  return null;
}

function timeProblem(header: ReceiptHeader): Break | null {
  const { seq, openedAtUs, closedAtUs, egressLastUs } = header;
  const backwards = closedAtUs < openedAtUs || (egressLastUs > 0 && egressLastUs < openedAtUs);
  return backwards ? broken("TIME", "E_TIME_BACKWARDS", seq, "it ends before it begins") : null;
}

/** The line has this receipt behind it. */
export function passed(line: Line, { header }: Entry, hash: Uint8Array, openMask: number): void {
  line.openFields.push(openMask);
  line.erasedFields.push(0);
  line.lastHash = hash;
  line.lastSeq = header.seq;
}
