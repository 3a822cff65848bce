import { describe, expect, test } from "vitest";
import { Arena } from "./arena.ts";

const bytes = (length: number, of: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (of + i) & 0xff);

describe("a cell", () => {
  test("holds none until it is given some, be it none at all", () => {
    const cell = new Arena().cell();
    expect(cell.get()).toBe(null);
    cell.set(new Uint8Array(0));
    expect(cell.get()).toEqual(new Uint8Array(0));
  });

  test("holds what was put in last, whatever others of its arena are given meanwhile", () => {
    const arena = new Arena();
    const cells = Array.from({ length: 300 }, () => arena.cell());
    const held: Uint8Array[] = [];
    // Lengths beside every border of a piece, pages filled several times, and some longer than a page.
    for (let turn = 0; turn < 12; turn++) {
      for (const [i, cell] of cells.entries()) {
        const length = i === 7 ? 300_000 + turn : (i * 131 + turn * 977) % 3000;
        held[i] = bytes(length, i * 7 + turn);
        cell.set(held[i]);
      }
      for (const [i, cell] of cells.entries()) expect(cell.get()).toEqual(held[i]);
    }
  });

  test("keeps a copy, and gives copies", () => {
    const cell = new Arena().cell();
    const given = bytes(70, 1);
    cell.set(given);
    given.fill(0);
    const got = cell.get();
    cell.set(bytes(70, 2));
    expect(got).toEqual(bytes(70, 1));
    got?.fill(9);
    expect(cell.get()).toEqual(bytes(70, 2));
    expect(got?.buffer.byteLength).toBe(70);
  });
});
