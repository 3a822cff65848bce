import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concat, fromHex, toHex } from "./bytes.ts";
import {
  bool,
  bytes,
  type Codec,
  type CodecCode,
  CodecError,
  message,
  nested,
  oneOf,
  repeated,
  str,
  u32,
  u64,
} from "./canonical.ts";
import { LeaseBody } from "./lease.ts";
import { REASONS } from "./reason.ts";
import { RECEIPT_KINDS, ReceiptHeader, VERDICTS } from "./receipt.ts";
import { SignedBytes } from "./signed.ts";

const Inner = message("inner", { name: str(1), count: u32(2) });
const All = message("all", {
  whole: u64(1),
  small: u32(2),
  flag: bool(3),
  colour: oneOf(4, ["UNSPECIFIED", "RED", "GREEN"] as const),
  text: str(5),
  digest: bytes(6, 4),
  blob: bytes(7),
  inner: nested(8, Inner),
  names: repeated(str(9)),
  inners: repeated(nested(10, Inner)),
  late: u64(300),
});
const empty = All.decode(new Uint8Array(0));

function refusal(codec: Codec<unknown>, input: string | Uint8Array): [CodecCode, string] {
  try {
    codec.decode(typeof input === "string" ? fromHex(input) : input);
  } catch (error) {
    if (error instanceof CodecError) return [error.code, error.field];
    throw error;
  }
  throw new Error("was not refused");
}

function misfit(value: object): [CodecCode, string] {
  try {
    All.encode({ ...empty, ...value });
  } catch (error) {
    if (error instanceof CodecError) return [error.code, error.field];
    throw error;
  }
  throw new Error("was not refused");
}

describe("the bytes are proto3's", () => {
  test("nothing is the encoding of all defaults", () => {
    expect(All.encode(empty)).toEqual(new Uint8Array(0));
    expect(empty).toEqual({
      whole: 0,
      small: 0,
      flag: false,
      colour: "UNSPECIFIED",
      text: "",
      digest: new Uint8Array(0),
      blob: new Uint8Array(0),
      inner: { name: "", count: 0 },
      names: [],
      inners: [],
      late: 0,
    });
  });

  test("every type of field, byte by byte", () => {
    const value = {
      whole: 150,
      small: 1,
      flag: true,
      colour: "GREEN" as const,
      text: "hé",
      digest: fromHex("00010203"),
      blob: fromHex("ff"),
      inner: { name: "a", count: 2 },
      names: ["x", ""],
      inners: [
        { name: "", count: 0 },
        { name: "b", count: 0 },
      ],
      late: 1,
    };
    const hex =
      "089601" + // 1: 150
      "1001" + // 2: 1
      "1801" + // 3: true
      "2002" + // 4: GREEN
      "2a0368c3a9" + // 5: hé
      "320400010203" + // 6
      "3a01ff" + // 7
      "42050a01611002" + // 8: { 1: a, 2: 2 }
      "4a01784a00" + // 9: x, the empty string
      "520052030a0162" + // 10: {}, { 1: b }
      "e01201"; // 300: 1
    expect(toHex(All.encode(value))).toBe(hex);
    expect(All.decode(fromHex(hex))).toEqual(value);
  });

  test.each([
    [1, "01"],
    [127, "7f"],
    [128, "8001"],
    [2 ** 28 - 1, "ffffff7f"],
    [2 ** 28, "8080808001"],
    [2 ** 32, "8080808010"],
    [2 ** 49, "8080808080808001"],
    [Number.MAX_SAFE_INTEGER, "ffffffffffffff0f"],
  ])("%d is the varint %s", (whole, hex) => {
    expect(toHex(All.encode({ ...empty, whole }))).toBe(`08${hex}`);
    expect(All.decode(fromHex(`08${hex}`)).whole).toBe(whole);
  });

  test.each([0, 1, 127, 128, 129, 16_383, 16_384, 70_000])(
    "a text and a message of %d bytes",
    (n) => {
      for (const text of ["x".repeat(n), `é${"x".repeat(n)}`]) {
        const value = { ...empty, text, inner: { name: text, count: 1 }, late: 7 };
        expect(All.decode(All.encode(value))).toEqual(value);
      }
    },
  );
});

describe("there is one encoding of a value", () => {
  const cases: [string, string, CodecCode, string][] = [
    ["ends inside a tag", "80", "E_ENC_TRUNCATED", "all"],
    ["ends inside a varint", "0880", "E_ENC_TRUNCATED", "all.whole"],
    ["ends before a value", "08", "E_ENC_TRUNCATED", "all.whole"],
    ["ends inside a block", "2a0261", "E_ENC_TRUNCATED", "all.text"],
    ["a block that outgrows its parent", "42030a056161", "E_ENC_TRUNCATED", "all.inner.name"],
    ["an overlong varint", "088100", "E_ENC_VARINT", "all.whole"],
    ["an overlong zero", "088000", "E_ENC_VARINT", "all.whole"],
    ["an overlong tag", "880001", "E_ENC_VARINT", "all"],
    ["an overlong length", "2a810061", "E_ENC_VARINT", "all.text"],
    ["2^53", "088080808080808010", "E_ENC_RANGE", "all.whole"],
    ["2^53 as a tag", "8080808080808010", "E_ENC_RANGE", "all"],
    ["2^53 as a length", "2a8080808080808010", "E_ENC_RANGE", "all.text"],
    ["2^64 − 1", "08ffffffffffffffffff01", "E_ENC_RANGE", "all.whole"],
    ["2^32 in a u32", "108080808010", "E_ENC_RANGE", "all.small"],
    ["a bool of 2", "1802", "E_ENC_RANGE", "all.flag"],
    ["fields out of order", "10010801", "E_ENC_ORDER", "all.whole"],
    ["a scalar twice", "08010801", "E_ENC_ORDER", "all.whole"],
    ["a message twice", "42021001" + "42021001", "E_ENC_ORDER", "all.inner"],
    ["repeated fields apart", "4a0178" + "5200" + "4a0179", "E_ENC_ORDER", "all.names"],
    ["wrong wire type", "0a0101", "E_ENC_WIRETYPE", "all.whole"],
    ["a fixed64", "090000000000000001", "E_ENC_WIRETYPE", "all.whole"],
    ["a packed enum", "220102", "E_ENC_WIRETYPE", "all.colour"],
    ["a group", "4b4c", "E_ENC_WIRETYPE", "all.names"],
    ["an unknown field", "5801", "E_ENC_UNKNOWN_FIELD", "all"],
    ["field number 0", "0001", "E_ENC_UNKNOWN_FIELD", "all"],
    ["an unknown field inside", "42021801", "E_ENC_UNKNOWN_FIELD", "all.inner"],
    ["trailing bytes", "080100", "E_ENC_UNKNOWN_FIELD", "all"],
    ["a zero written", "0800", "E_ENC_DEFAULT", "all.whole"],
    ["false written", "1800", "E_ENC_DEFAULT", "all.flag"],
    ["UNSPECIFIED written", "2000", "E_ENC_DEFAULT", "all.colour"],
    ["an empty text written", "2a00", "E_ENC_DEFAULT", "all.text"],
    ["empty bytes written", "3a00", "E_ENC_DEFAULT", "all.blob"],
    ["an empty message written", "4200", "E_ENC_DEFAULT", "all.inner"],
    ["a default inside", "52021000", "E_ENC_DEFAULT", "all.inners.count"],
    ["too short", "3203000102", "E_ENC_LENGTH", "all.digest"],
    ["too long", "32050001020304", "E_ENC_LENGTH", "all.digest"],
    ["half a character", "2a01c3", "E_ENC_UTF8", "all.text"],
    ["an overlong slash", "2a02c0af", "E_ENC_UTF8", "all.text"],
    ["a surrogate in UTF-8", "2a03eda080", "E_ENC_UTF8", "all.text"],
    ["an enum value nobody knows", "2003", "E_ENC_ENUM", "all.colour"],
  ];
  test.each(cases)("refuses %s: %s", (_, hex, code, field) => {
    expect(refusal(All, hex)).toEqual([code, field]);
  });

  test("a byte order mark is text like any other", () => {
    const value = { ...empty, text: "\uFEFFx" };
    expect(All.decode(All.encode(value))).toEqual(value);
  });
});

describe("what has no encoding is not written", () => {
  test.each([
    ["2^53", { whole: 2 ** 53 }, "E_ENC_RANGE", "all.whole"],
    ["−1", { whole: -1 }, "E_ENC_RANGE", "all.whole"],
    ["a half", { whole: 0.5 }, "E_ENC_RANGE", "all.whole"],
    ["NaN", { whole: Number.NaN }, "E_ENC_RANGE", "all.whole"],
    ["2^32 in a u32", { small: 2 ** 32 }, "E_ENC_RANGE", "all.small"],
    ["a value not in the enum", { colour: "BLUE" }, "E_ENC_ENUM", "all.colour"],
    ["a lone surrogate", { text: "a\uD800" }, "E_ENC_UTF8", "all.text"],
    ["a digest of 3", { digest: new Uint8Array(3) }, "E_ENC_LENGTH", "all.digest"],
    ["inside", { inners: [{ name: "", count: -1 }] }, "E_ENC_RANGE", "all.inners.count"],
  ] as const)("%s", (_, value, code, field) => {
    expect(misfit(value)).toEqual([code, field]);
    // Nothing of the failed attempt is left for the next one.
    expect(toHex(All.encode({ ...empty, small: 1 }))).toBe("1001");
  });
});

describe("what was decoded is its owner's", () => {
  test("it does not change with the buffer that carried it", () => {
    const carrier = All.encode({ ...empty, digest: fromHex("00010203"), blob: fromHex("ff") });
    const value = All.decode(carrier);
    carrier.fill(0);
    expect(toHex(value.digest) + toHex(value.blob)).toBe("00010203ff");
  });

  test("nor with a view such as node's Buffer, and comes out as plain bytes", () => {
    const buffer = Buffer.from(All.encode({ ...empty, blob: fromHex("ff") }));
    const value = All.decode(buffer);
    buffer.fill(0);
    expect(value.blob).toEqual(fromHex("ff"));
    expect(value.blob.constructor).toBe(Uint8Array);
  });

  test("lists and messages of two values are not shared", () => {
    const [one, other] = [All.decode(new Uint8Array(0)), All.decode(new Uint8Array(0))];
    one.names.push("x");
    one.inner.name = "x";
    expect(other.names).toEqual([]);
    expect(other.inner.name).toBe("");
  });
});

test("a declaration out of order is a bug", () => {
  expect(() => message("bad", { b: u32(2), a: u32(1) })).toThrow(
    "bad.a: field numbers must ascend",
  );
  expect(() => message("bad", { a: u32(1), b: u32(1) })).toThrow(TypeError);
  expect(() => repeated(u32(1))).toThrow(TypeError);
  expect(() => repeated(repeated(str(1)))).toThrow(TypeError);
});

// Properties, over bodies that are really signed.
const number = fc.oneof(fc.constant(0), fc.nat(300), fc.maxSafeNat());
const text = fc.oneof(fc.constant(""), fc.string({ unit: "grapheme", maxLength: 40 }));
const hash = fc.oneof(
  fc.constant(new Uint8Array(0)),
  fc.uint8Array({ minLength: 32, maxLength: 32 }),
);
const receipts = fc.record({
  version: fc.nat(0xffff_ffff),
  receiptId: text,
  tenantId: text,
  ledgerId: hash,
  seq: number,
  prevHash: hash,
  manifestHash: hash,
  leaseRef: hash,
  kind: fc.constantFrom(...RECEIPT_KINDS),
  verdict: fc.constantFrom(...VERDICTS),
  reason: fc.constantFrom("UNSPECIFIED" as const, "NO_LEASE" as const, "CRASHED" as const),
  scope: text,
  openedAtUs: number,
  closedAtUs: number,
  egressLastUs: number,
  intentSeq: number,
  intentsOpened: number,
  intentsHead: hash,
  count: number,
  payloadHash: hash,
  refersTo: hash,
  redactedMask: fc.nat(31),
  wouldDeny: fc.constantFrom(...REASONS),
  spentBytes: number,
});
const leases = fc
  .record({
    leaseId: text,
    grantRef: hash,
    leaseSeq: number,
    scopes: fc.array(
      fc.record({
        name: text,
        limits: fc.record({
          maxActions: number,
          maxBytes: number,
          ratePerMinute: number,
          maxConcurrent: number,
        }),
      }),
      { maxLength: 3 },
    ),
    controlRoot: hash,
  })
  .map((some) => ({ ...LeaseBody.decode(new Uint8Array(0)), ...some }));
const envelopes = fc.record({
  body: fc.uint8Array({ maxLength: 200 }),
  signatures: fc.array(fc.record({ key: hash, value: fc.constant(new Uint8Array(64)) }), {
    maxLength: 3,
  }),
});

const bodies = [
  ["receipt", ReceiptHeader, receipts],
  ["lease", LeaseBody, leases],
  ["signed bytes", SignedBytes, envelopes],
] as [string, Codec<unknown>, fc.Arbitrary<unknown>][];

/** Overwrites, removes, inserts or doubles a few bytes somewhere. */
const damage = fc.record({
  at: fc.nat(),
  remove: fc.nat(3),
  insert: fc.uint8Array({ maxLength: 3 }),
});

describe.each(bodies)("every %s", (_, codec, values) => {
  test("comes back as it was", () => {
    fc.assert(
      fc.property(values, (value) => {
        expect(codec.decode(codec.encode(value))).toEqual(value);
      }),
    );
  });

  test("with bytes damaged is refused, or is the one encoding of something else", () => {
    let refused = 0;
    let accepted = 0;
    fc.assert(
      fc.property(values, fc.array(damage, { minLength: 1, maxLength: 3 }), (value, damages) => {
        let mutated = codec.encode(value);
        for (const { at, remove, insert } of damages) {
          const start = at % (mutated.length + 1);
          mutated = concat(mutated.slice(0, start), insert, mutated.slice(start + remove));
        }
        let decoded: unknown;
        try {
          decoded = codec.decode(mutated);
        } catch (error) {
          expect(error).toBeInstanceOf(CodecError);
          refused++;
          return;
        }
        expect(toHex(codec.encode(decoded))).toBe(toHex(mutated));
        accepted++;
      }),
      { numRuns: 2000 },
    );
    // Neither half of the promise went untried.
    expect(refused).toBeGreaterThan(100);
    expect(accepted).toBeGreaterThan(100);
  });
});
