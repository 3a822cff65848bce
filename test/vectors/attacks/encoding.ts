import { concat, fromHex, utf8 } from "../../../src/domain/bytes.ts";
import { EndFrame, frame, ReceiptFrame } from "../../../src/verifier/pack.ts";
import { nth, type Piece } from "../../verifier/frames.ts";
import { bytes, changed, drop, group, insert, only, rebody, receiptAt } from "./case.ts";

const { cases, add } = group("encoding");
export const ENCODING = cases;

const body = (change: (body: Uint8Array) => Uint8Array) =>
  changed((p, s) => rebody(receiptAt(p, 3), s.ledgerKey, change));

add(
  "unknown-field",
  [39],
  "a field that the message has not",
  "E_ENC_UNKNOWN_FIELD@3",
  body((b) => concat(b, fromHex("f80101"))),
);
add(
  "scalar-twice",
  [40],
  "a field that stands twice, of which libraries take the last",
  "E_ENC_ORDER@3",
  body((b) => concat(b, fromHex("0801"))),
);
add(
  "out-of-order",
  [40],
  "fields out of order",
  "E_ENC_ORDER@3",
  body((b) => concat(b.slice(2), b.slice(0, 2))),
);
add(
  "long-varint",
  [41],
  "a varint with more bytes than it needs",
  "E_ENC_VARINT@3",
  body((b) => concat(fromHex("088100"), b.slice(2))),
);
add(
  "endless-varint",
  [41],
  "the body ends inside a varint that was too long already",
  "E_ENC_RANGE@3",
  body((b) => concat(b, fromHex("c0018080808080808080"))),
);
add(
  "beyond-53-bits",
  [41],
  "a number above 2^53 − 1",
  "E_ENC_RANGE@3",
  body((b) => concat(b, fromHex("c001808080808080801f"))),
);
add(
  "bytes-after-the-end",
  [42],
  "bytes after the end",
  "E_ENC_TRUNCATED@3",
  body((b) => concat(b, fromHex("ff"))),
);
add(
  "cut-short",
  [42],
  "a body that ends inside a field",
  "E_ENC_TRUNCATED@3",
  body((b) => b.slice(0, -1)),
);
add(
  "default-written",
  [40],
  "a default value written out",
  "E_ENC_DEFAULT@3",
  body((b) => concat(b, fromHex("c00100"))),
);
add(
  "wrong-wire-type",
  [43],
  "a number where bytes are due",
  "E_ENC_WIRETYPE@3",
  body((b) => concat(b.slice(0, 2), fromHex("1001"), b.slice(2))),
);
add(
  "enum-unlisted",
  [39],
  "an enum value that is not listed",
  "E_ENC_ENUM@3",
  body((b) => replaced(b, "4801", "487f")),
);
add(
  "not-utf-8",
  [39],
  "text that is not UTF-8",
  "E_ENC_UTF8@3",
  body((b) => replaced(b, "1a0461636d65", "1a04ff636d65")),
);
add(
  "hash-of-31-bytes",
  [27],
  "a hash of 31 bytes",
  "E_ENC_LENGTH@3",
  body((b) => {
    const at = find(b, fromHex("2220"));
    return concat(b.slice(0, at), fromHex("221f"), b.slice(at + 3));
  }),
);
add(
  "a-lease-as-a-receipt",
  [43],
  "a lease in a receipt's place",
  "E_ENC_WIRETYPE@3",
  changed((p) => {
    const { row } = ReceiptFrame.decode(receiptAt(p, 3).body);
    receiptAt(p, 3).body = ReceiptFrame.encode({ signed: only(p, "LEASE").body, row });
  }),
);
add(
  "unknown-in-the-envelope",
  [39],
  "a field that the envelope has not",
  "E_ENC_UNKNOWN_FIELD@3",
  changed((p) => {
    const { signed, row } = ReceiptFrame.decode(receiptAt(p, 3).body);
    receiptAt(p, 3).body = ReceiptFrame.encode({ signed: concat(signed, fromHex("1a00")), row });
  }),
);
add(
  "unknown-in-the-frame",
  [39],
  "a field that the frame has not",
  "E_ENC_UNKNOWN_FIELD@3",
  changed((p) => {
    const piece = receiptAt(p, 3);
    piece.body = concat(piece.body, fromHex("1a0101"));
  }),
);
add(
  "unknown-in-the-row",
  [39],
  "a field that a payload row has not",
  "E_ENC_UNKNOWN_FIELD@3",
  changed((p) => {
    const { signed, row } = ReceiptFrame.decode(receiptAt(p, 3).body);
    receiptAt(p, 3).body = ReceiptFrame.encode({ signed, row: concat(row, fromHex("1801")) });
  }),
);
add(
  "unknown-in-a-lease",
  [39],
  "a field that a lease has not",
  "E_ENC_UNKNOWN_FIELD@0",
  changed((p) => {
    only(p, "LEASE").body = concat(only(p, "LEASE").body, fromHex("1a00"));
  }),
);
add(
  "unknown-in-a-manifest",
  [39],
  "a field that a manifest has not",
  "E_ENC_UNKNOWN_FIELD@0",
  changed((p) => {
    only(p, "MANIFEST").body = concat(only(p, "MANIFEST").body, fromHex("420101"));
  }),
);

add(
  "empty",
  [9],
  "an empty file",
  "E_PACK_EMPTY@0",
  bytes(() => new Uint8Array(0)),
);
add(
  "no-magic",
  [43],
  "a file that does not begin as a pack",
  "E_PACK_MAGIC@0",
  bytes((b) => b.slice(1)),
);
add(
  "another-version",
  [43],
  "a pack of a version to come",
  "E_PACK_MAGIC@0",
  bytes((b) => concat(utf8("dragons evidence 2\n"), b.slice(19))),
);
add(
  "no-ledgers",
  [9],
  "a pack without a ledger",
  "E_PACK_EMPTY@0",
  changed((p) => p.splice(1)),
);
add(
  "no-receipts",
  [9],
  "a ledger without receipts",
  "E_PACK_EMPTY@0",
  changed((p) => {
    for (const kind of ["CHECKPOINT", "HEARTBEAT"] as const) drop(p, kind);
    p.splice(nth(p, "RECEIPT", 1));
  }),
);
add(
  "unknown-kind",
  [39],
  "a frame of a kind that is not listed",
  "E_PACK_KIND@0",
  bytes((b) => spliced(b, 99)),
);
add(
  "kind-zero",
  [39],
  "a frame of kind 0",
  "E_PACK_KIND@0",
  bytes((b) => spliced(b, 0)),
);
add(
  "out-of-place",
  [4],
  "a lease that stands once more after the receipts",
  "E_PACK_ORDER@0",
  changed((p) => {
    p.push(only(p, "LEASE"));
  }),
);
add(
  "header-twice",
  [17],
  "two headers",
  "E_PACK_ORDER@0",
  changed((p) => p.splice(1, 0, p[0] as Piece)),
);
add(
  "no-header",
  [17],
  "a pack that begins without its header",
  "E_PACK_ORDER@0",
  changed((p) => p.splice(0, 1)),
);
add(
  "section-without-genesis",
  [20],
  "a ledger without its genesis",
  "E_PACK_ORDER@0",
  changed((p) => drop(p, "GENESIS")),
);
add(
  "end-miscounted",
  [3],
  "END counts another number of frames",
  "E_PACK_TRUNCATED@0",
  bytes((b) => {
    const out = b.slice();
    out[out.length - 1] = (out[out.length - 1] as number) - 1;
    return out;
  }),
);
add(
  "no-end",
  [8],
  "a file without END",
  "E_PACK_TRUNCATED@0",
  bytes((b) => b.slice(0, lastFrame(b))),
);
add(
  "cut-inside-a-frame",
  [8],
  "a file that ends inside a frame",
  "E_PACK_TRUNCATED@0",
  bytes((b) => b.slice(0, -1)),
);
add(
  "after-end",
  [42],
  "bytes after END",
  "E_PACK_TRAILING@0",
  bytes((b) => concat(b, Uint8Array.of(0))),
);
add(
  "frame-too-long",
  [42],
  "a frame above 4 MiB",
  "E_PACK_FRAME@0",
  bytes((b) => {
    const out = b.slice();
    out.set(fromHex("00400001"), 20);
    return out;
  }),
);
add(
  "fewer-ledgers",
  [3],
  "the header announces two ledgers, and one is there",
  "E_PACK_TRUNCATED@0",
  changed((p) => {
    only(p, "HEADER").body = concat(only(p, "HEADER").body.slice(0, -1), Uint8Array.of(2));
  }),
);
add(
  "frontier-twice",
  [14],
  "two frontiers",
  "E_PACK_ORDER@0",
  changed((p) => {
    const frontier = {
      kind: "FRONTIER",
      body: fromHex(`1a20${"11".repeat(32)}2a20${"11".repeat(32)}`),
    } as const;
    for (let i = 0; i < 2; i++) insert(p, "RECEIPT", 1, frontier);
  }),
);

function find(within: Uint8Array, wanted: Uint8Array): number {
  const at = Buffer.from(within).indexOf(wanted);
  if (at < 0) throw new RangeError("not in there");
  return at;
}

function replaced(within: Uint8Array, from: string, to: string): Uint8Array {
  const out = within.slice();
  out.set(fromHex(to), find(within, fromHex(from)));
  return out;
}

/** A frame of that kind after the header. */
function spliced(pack: Uint8Array, kind: number): Uint8Array {
  const after = 19 + 5 + new DataView(pack.buffer, pack.byteOffset).getUint32(20);
  return concat(pack.slice(0, after), Uint8Array.of(kind, 0, 0, 0, 0), pack.slice(after));
}

/** Where END begins. */
const lastFrame = (pack: Uint8Array): number =>
  pack.length - frame("END", EndFrame.encode({ frames: 99 })).length;
