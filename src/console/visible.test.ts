import fc from "fast-check";
import { expect, test } from "vitest";
import { isPrintable } from "../domain/printable.ts";
import { visible } from "./visible.ts";

const drawn = (text: string, max = 1000) =>
  visible(text, max)
    .pieces.map((p) => (p.escaped ? `[${p.text}]` : p.text))
    .join("");

test("ordinary words of any language are shown as they are", () => {
  for (const text of [
    "reconcile payments",
    "Zahlungen prüfen",
    "שלום",
    "支払いを照合",
    "a\u0301 e\u0301",
  ]) {
    expect(visible(text, 100)).toEqual({ pieces: [{ text, escaped: false }], left: 0 });
  }
});

test("what would turn, hide or overwrite other words is written out", () => {
  expect(drawn("pay \u202e0001")).toBe("pay [U+202E]0001");
  expect(drawn("a\u0000b\u001b[2Kc\u2028d\u200be\ufefff\u2066")).toBe(
    "a[U+0000]b[U+001B][2Kc[U+2028]d[U+200B]e[U+FEFF]f[U+2066]",
  );
  expect(drawn("\ud800")).toBe("[U+D800]");
  expect(drawn("\u{e0041}")).toBe("[U+E0041]");
  expect(drawn(`z${"\u0301".repeat(5)}`)).toBe(`z${"[U+0301]".repeat(5)}`);
});

test("what is too long is cut, and how much more there is stands with it", () => {
  expect(visible("x".repeat(50), 20)).toEqual({
    pieces: [{ text: "x".repeat(20), escaped: false }],
    left: 30,
  });
});

test("nothing that is shown as it is is unprintable, whatever the pack says", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(0xffff)), (units) => {
      const { pieces } = visible(String.fromCharCode(...units), 500);
      return pieces.every((p) => p.escaped || isPrintable(p.text));
    }),
  );
});
