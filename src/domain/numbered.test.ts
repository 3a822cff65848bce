import fc from "fast-check";
import { expect, test } from "vitest";
import { Numbered } from "./numbered.ts";

test("what is there is what a Map would hold, in its order", () => {
  const steps = fc.array(fc.tuple(fc.nat(2000), fc.boolean()), { maxLength: 300 });
  fc.assert(
    fc.property(steps, (list) => {
      const numbered = new Numbered<string>();
      const model = new Map<number, string>();
      for (const [n, adds] of list) {
        if (adds && !model.has(n)) {
          numbered.add(n, `${n}`);
          model.set(n, `${n}`);
        } else if (!adds) expect(numbered.delete(n)).toBe(model.delete(n));
        expect(numbered.get(n)).toBe(model.get(n));
        const values = [...model.values()];
        expect(numbered.find(() => true)).toBe(values[0]);
        expect(numbered.find((value) => value > "5")).toBe(values.find((value) => value > "5"));
      }
      expect(numbered.size).toBe(model.size);
      expect(numbered.values()).toEqual([...model.values()]);
    }),
  );
});
