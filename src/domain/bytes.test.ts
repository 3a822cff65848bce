import fc from "fast-check";
import { expect, test } from "vitest";
import {
  compare,
  concat,
  equal,
  fromBase64,
  fromBase64Url,
  fromHex,
  text,
  toBase64,
  toBase64Url,
  toHex,
  u64be,
  utf8,
} from "./bytes.ts";

const bytes = fc.uint8Array({ maxLength: 80 });

test("every spelling comes back", () => {
  fc.assert(
    fc.property(bytes, (value) => {
      expect(fromHex(toHex(value))).toEqual(value);
      expect(fromBase64(toBase64(value))).toEqual(value);
      expect(fromBase64Url(toBase64Url(value))).toEqual(value);
    }),
  );
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (value) => {
      expect(text(utf8(value))).toBe(value);
    }),
  );
});

test("spellings are those of RFC 4648", () => {
  const value = fromHex("fbeffe");
  expect(toBase64(value)).toBe("++/+");
  expect(toBase64Url(value)).toBe("--_-");
  expect(toBase64(utf8("fo"))).toBe("Zm8=");
  expect(toBase64Url(utf8("fo"))).toBe("Zm8");
});

test("there is one spelling of a value", () => {
  for (const hex of ["A0", "0", "0g", " 00", "00\n"]) expect(() => fromHex(hex)).toThrow(TypeError);
  for (const base64 of ["Zm8", "Zm9=", " Zm8=", "Zm8=\n", "Zm8==", "Z", "--_-", "Zm8=Zm8="]) {
    expect(() => fromBase64(base64)).toThrow(TypeError);
  }
  for (const base64url of ["Zm8=", "Zm9", "++/+", "Z", "Zm8\n"]) {
    expect(() => fromBase64Url(base64url)).toThrow(TypeError);
  }
});

test("text is UTF-8 or nothing", () => {
  expect(() => utf8("a\uD800")).toThrow(TypeError);
  expect(() => text(fromHex("c3"))).toThrow(TypeError);
  expect(text(utf8("\uFEFFé"))).toBe("\uFEFFé");
});

test("u64be is eight bytes, up to 2^53 − 1", () => {
  expect(toHex(u64be(0))).toBe("0000000000000000");
  expect(toHex(u64be(258))).toBe("0000000000000102");
  expect(toHex(u64be(2 ** 32 + 2 ** 31))).toBe("0000000180000000");
  expect(toHex(u64be(Number.MAX_SAFE_INTEGER))).toBe("001fffffffffffff");
  for (const n of [-1, 0.5, 2 ** 53, Number.NaN]) expect(() => u64be(n)).toThrow(RangeError);
});

test("compare sorts as the hex would, and equal is its zero", () => {
  fc.assert(
    fc.property(bytes, bytes, (a, b) => {
      const [x, y] = [toHex(a), toHex(b)];
      expect(Math.sign(compare(a, b))).toBe(x < y ? -1 : x > y ? 1 : 0);
      expect(equal(a, b)).toBe(x === y);
    }),
  );
  expect(equal(fromHex("0102"), fromHex("0102"))).toBe(true);
  expect(equal(fromHex("0102"), fromHex("0103"))).toBe(false);
});

test("concat puts parts in order and shares no memory with them", () => {
  const part = fromHex("01");
  const whole = concat(part, new Uint8Array(0), fromHex("0203"));
  part.fill(9);
  expect(toHex(whole)).toBe("010203");
});
