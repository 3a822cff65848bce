import { expect, test } from "vitest";
import { CodecError } from "../domain/canonical.ts";
import { decodeSeqs, encodeSeqs } from "./seqs.ts";

test.each([
  [[], []],
  [[1], [1]],
  [
    [1, 2, 130],
    [1, 1, 0x80, 1],
  ],
  [[300], [0xac, 2]],
  [[Number.MAX_SAFE_INTEGER], [255, 255, 255, 255, 255, 255, 255, 15]],
])("%j are written one way, and read back", (seqs, bytes) => {
  expect([...encodeSeqs(seqs)]).toEqual(bytes);
  expect(decodeSeqs(Uint8Array.from(bytes))).toEqual(seqs);
});

test.each([
  ["no step", [1, 0]],
  ["a step longer than it need be", [0x81, 0]],
  ["an end within a number", [1, 0x80]],
  ["a number too great", [255, 255, 255, 255, 255, 255, 255, 16]],
  ["a sum too great", [255, 255, 255, 255, 255, 255, 255, 15, 1]],
  ["a number without an end", Array.from({ length: 200 }, () => 0x80)],
])("%s is refused", (_, bytes) => {
  expect(() => decodeSeqs(Uint8Array.from(bytes))).toThrow(CodecError);
});

test("what does not ascend is not written", () => {
  expect(() => encodeSeqs([2, 2])).toThrow(RangeError);
  expect(() => encodeSeqs([0])).toThrow(RangeError);
});
