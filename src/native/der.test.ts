import { expect, test } from "vitest";
import { fromHex, toHex } from "../domain/bytes.ts";
import { contentOf, elementsOf, integer, octets, oid, pem, sequence } from "./der.ts";

test("an element says its length in as few bytes as there are", () => {
  const header = (length: number): string => toHex(octets(new Uint8Array(length)).subarray(0, 4));
  expect([0, 1, 127].map(header)).toEqual(["0400", "040100", "047f0000"]);
  expect([128, 255].map(header)).toEqual(["04818000", "0481ff00"]);
  expect([256, 65_535].map(header)).toEqual(["04820100", "0482ffff"]);
});

test("an object is named by its arcs", () => {
  expect(toHex(oid("1.2.840.10045.4.3.2"))).toBe("06082a8648ce3d040302");
  expect(toHex(oid("2.5.29.19"))).toBe("0603551d13");
  expect(toHex(oid("1.3.6.1.5.5.7.3.2"))).toBe("06082b06010505070302");
});

test("what was put into an element is found in it again", () => {
  for (const length of [0, 1, 127, 128, 255, 256, 4000]) {
    const parts = [integer(Uint8Array.of(7)), octets(new Uint8Array(length)), sequence()];
    const whole = sequence(...parts);
    expect(elementsOf(whole)).toEqual(parts);
    expect(contentOf(parts[1] as Uint8Array)).toHaveLength(length);
  }
});

test("an element that ends before its length is refused", () => {
  for (const hex of ["3003020105ff", "300404030101", "30058204ffff01", "300102"]) {
    expect(() => elementsOf(fromHex(hex))).toThrow();
  }
});

test("PEM has lines of 64 characters and ends its last", () => {
  const lines = pem("CERTIFICATE", new Uint8Array(49)).split("\n");
  expect(lines.map((l) => l.length)).toEqual([27, 64, 4, 25, 0]);
});
