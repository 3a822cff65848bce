import fc from "fast-check";
import { expect, test } from "vitest";
import { H2Stream, type StreamHost } from "./stream.ts";
import { StreamTable } from "./stream-table.ts";

const host = {} as StreamHost;

test("streams are found by their ids, whatever came and went", () => {
  const id = fc.nat(3000);
  fc.assert(
    fc.property(fc.array(fc.tuple(id, fc.boolean()), { maxLength: 300 }), (steps) => {
      const table = new StreamTable();
      const model = new Map<number, H2Stream>();
      for (const [n, adds] of steps) {
        const known = model.get(n);
        if (adds && known === undefined) {
          const stream = new H2Stream(n, host, 0);
          table.add(stream);
          model.set(n, stream);
        } else if (!adds && known !== undefined) {
          expect(table.delete(known)).toBe(true);
          expect(table.delete(known)).toBe(false);
          model.delete(n);
        }
        expect(table.get(n)).toBe(model.get(n));
      }
      expect(table.size).toBe(model.size);
      expect(new Set(table.all())).toEqual(new Set(model.values()));
    }),
  );
});
