import fc from "fast-check";
import { expect, test } from "vitest";
import { concat, u64be, utf8 } from "./bytes.ts";
import { Preimage } from "./preimage.ts";

test("parts follow each other as they were given, however long, and nothing of an earlier use is left", () => {
  const part = fc.oneof(
    fc.uint8Array({ maxLength: 3000 }).map((bytes) => ({ bytes })),
    fc.maxSafeNat().map((u64) => ({ u64 })),
    fc.nat(255).map((byte) => ({ byte })),
    fc.stringMatching(/^[ -~]*$/).map((ascii) => ({ ascii })),
  );
  const preimage = new Preimage();
  fc.assert(
    fc.property(fc.array(part, { maxLength: 50 }), (parts) => {
      preimage.begin();
      const expected = parts.map((p) => {
        if ("bytes" in p) preimage.bytes(p.bytes);
        else if ("u64" in p) preimage.u64be(p.u64);
        else if ("byte" in p) preimage.byte(p.byte);
        else preimage.ascii(p.ascii);
        if ("bytes" in p) return p.bytes;
        if ("u64" in p) return u64be(p.u64);
        return "byte" in p ? Uint8Array.of(p.byte) : utf8(p.ascii);
      });
      expect(Buffer.from(preimage.done()).equals(concat(...expected))).toBe(true);
    }),
  );
});

test("what cannot be hashed unambiguously is refused", () => {
  expect(() => new Preimage().u64be(-1)).toThrow(RangeError);
  expect(() => new Preimage().u64be(2 ** 53)).toThrow(RangeError);
  expect(() => new Preimage().ascii("é")).toThrow(TypeError);
});
