import { createHash } from "node:crypto";
import { etc, Point, utils } from "@noble/ed25519";
import { concat, fromHex, toHex } from "../../../src/domain/bytes.ts";
import { pae, SignedBytes } from "../../../src/domain/signed.ts";
import { ReceiptFrame } from "../../../src/verifier/pack.ts";
import { keyOf, type Story } from "../../verifier/build.ts";
import { changed, group, receiptAt, reseal, resign, twisted } from "./case.ts";

const { cases, add } = group("key");
export const KEYS = cases;

const ORDER = Point.CURVE().n;
/** A point of order 8. */
const TORSION = Point.fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa");

const scalarBytes = (n: bigint): Uint8Array =>
  fromHex(n.toString(16).padStart(64, "0")).toReversed();
const scalarOf = (bytes: Uint8Array): bigint => BigInt(`0x${toHex(bytes.toReversed())}`);

/** Signs as the key's holder may who does not follow the recipe: R is shifted by a point. */
function crookedly(seed: Uint8Array, message: Uint8Array, nonce: bigint, shift: Point): Uint8Array {
  const { scalar, point } = utils.getExtendedPublicKey(seed);
  const base = nonce === 0n ? Point.ZERO : Point.BASE.multiply(nonce);
  const r = base.add(shift).toBytes();
  const digest = createHash("sha512").update(r).update(point.toBytes()).update(message).digest();
  const s = etc.mod(nonce + etc.mod(scalarOf(digest), ORDER) * scalar, ORDER);
  return concat(r, scalarBytes(s));
}

const crooked = (nonce: bigint, shift: Point) =>
  changed((p, s) => {
    const { signed } = ReceiptFrame.decode(receiptAt(p, 3).body);
    const message = pae("receipt", SignedBytes.decode(signed).body);
    const { seed } = s.ledgerKey as ReturnType<typeof keyOf>;
    resign(receiptAt(p, 3), () => crookedly(seed, message, nonce, shift));
  });

add(
  "s-plus-l",
  [23],
  "one signature spelled twice: S + L",
  "E_RECEIPT_SIG@3",
  changed((p) =>
    resign(receiptAt(p, 3), (v) =>
      concat(v.slice(0, 32), scalarBytes(scalarOf(v.slice(32)) + ORDER)),
    ),
  ),
);
add(
  "r-with-torsion",
  [26],
  "an R with torsion, which cofactored libraries accept",
  "E_RECEIPT_SIG@3",
  crooked(12_345n, TORSION),
);
add("r-the-identity", [26], "the identity as R", "E_RECEIPT_SIG@3", crooked(0n, Point.ZERO));
add("r-of-small-order", [26], "an R of small order", "E_RECEIPT_SIG@3", crooked(0n, TORSION));

const posing = (hex: string) =>
  twisted({ ledger: { ...keyOf("ledger"), publicKey: fromHex(hex) } });
const mixed = Point.fromBytes(keyOf("ledger").publicKey).add(TORSION);
add(
  "identity",
  [24],
  "the identity as ledger key: any signature holds",
  "E_KEY_WEAK@0",
  posing(`01${"00".repeat(31)}`),
);
add("small-order", [24], "a ledger key of order 8", "E_KEY_WEAK@0", posing(TORSION.toHex()));
add("mixed-order", [24], "a ledger key of mixed order", "E_KEY_WEAK@0", posing(mixed.toHex()));
add(
  "not-canonical",
  [25],
  "a ledger key spelled above the field's prime",
  "E_KEY_NONCANONICAL@0",
  posing(`ee${"ff".repeat(30)}7f`),
);
add(
  "no-point",
  [25],
  "a ledger key that is no point",
  "E_KEY_NONCANONICAL@0",
  posing(`02${"00".repeat(31)}`),
);
add(
  "weak-in-the-keyset",
  [24],
  "a weak key among the operators'",
  "E_KEY_WEAK@0",
  twisted({
    keyset: (b) => ({
      ...b,
      keys: b.keys.map((k) =>
        k.role === "ISSUER" ? { ...k, key: fromHex(`01${"00".repeat(31)}`) } : k,
      ),
    }),
  }),
);
add(
  "weak-join-key",
  [24],
  "a weak join key on a dock",
  "E_KEY_WEAK@0",
  twisted({
    dock: (b) => ({ ...b, joinKeys: [{ key: TORSION.toBytes(), ledgersMax: 1 }] }),
  }),
);
add(
  "65-bytes",
  [27],
  "a signature of 65 bytes",
  "E_ENC_LENGTH@3",
  changed((p) => lengthened(p, 65)),
);
add(
  "63-bytes",
  [27],
  "a signature of 63 bytes",
  "E_ENC_LENGTH@3",
  changed((p) => lengthened(p, 63)),
);
add(
  "zeros",
  [21],
  "a signature of zeros",
  "E_RECEIPT_SIG@3",
  changed((p) => resign(receiptAt(p, 3), () => new Uint8Array(64))),
);
add(
  "of-another-kind",
  [43],
  "a heartbeat's signature under a receipt",
  "E_RECEIPT_SIG@3",
  changed(async (p, s: Story) => {
    const { signed } = ReceiptFrame.decode(receiptAt(p, 3).body);
    const { body } = SignedBytes.decode(signed);
    const value = await s.ledgerKey.sign(pae("heartbeat", body));
    reseal(receiptAt(p, 3), () => ({ body, signatures: [{ key: s.ledgerKey.publicKey, value }] }));
  }),
);
add(
  "without-a-prefix",
  [43],
  "a signature over the body alone",
  "E_RECEIPT_SIG@3",
  changed(async (p, s: Story) => {
    const { signed } = ReceiptFrame.decode(receiptAt(p, 3).body);
    const { body } = SignedBytes.decode(signed);
    const value = await s.ledgerKey.sign(body);
    reseal(receiptAt(p, 3), () => ({ body, signatures: [{ key: s.ledgerKey.publicKey, value }] }));
  }),
);

/** The envelope with a signature of so many bytes, which no strict codec would write. */
function lengthened(pieces: Parameters<typeof receiptAt>[0], length: number): void {
  const piece = receiptAt(pieces, 3);
  const { signed, row } = ReceiptFrame.decode(piece.body);
  const { body, signatures } = SignedBytes.decode(signed);
  const key = signatures[0]?.key as Uint8Array;
  const inner = concat(fromHex("0a20"), key, Uint8Array.of(0x12, length), new Uint8Array(length));
  const head = SignedBytes.encode({ body, signatures: [] });
  const long = concat(head, Uint8Array.of(0x12, inner.length), inner);
  piece.body = ReceiptFrame.encode({ signed: long, row });
}
