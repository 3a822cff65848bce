import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ByteBudget } from "./byte-budget.ts";

/** Gives blocks out of a pot, each a little later, as a disk does. */
function potOf(bytes: number, block: number) {
  const pot = { left: bytes, given: 0, asked: 0, gate: Promise.resolve() };
  const more = async (needed: number): Promise<number | null> => {
    pot.asked++;
    if (pot.left < needed) return null;
    const given = Math.min(pot.left, Math.max(block, needed));
    pot.left -= given;
    await pot.gate;
    pot.given += given;
    return given;
  };
  return { pot, more };
}

describe("a byte budget", () => {
  test("passes at once what is reserved, and asks for more before it is needed", async () => {
    const { pot, more } = potOf(1000, 100);
    const budget = new ByteBudget(100, more);
    expect(budget.spend(50)).toBe(true);
    expect(pot.asked).toBe(0);
    expect(budget.spend(1)).toBe(true);
    expect(pot.asked).toBe(1);
    await Promise.resolve();
    await Promise.resolve();
    expect(budget.spend(99)).toBe(true);
  });

  test("passes nothing whose block is not durable yet", async () => {
    const { pot, more } = potOf(1000, 100);
    const disk = Promise.withResolvers<void>();
    pot.gate = disk.promise;
    const budget = new ByteBudget(10, more);
    let passed = false;
    const leave = Promise.resolve(budget.spend(11)).then((given) => {
      passed = given;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(passed).toBe(false);
    disk.resolve();
    await leave;
    expect(passed).toBe(true);
  });

  test("says no when they are spent, and from then on", async () => {
    const { more } = potOf(5, 100);
    const budget = new ByteBudget(10, more);
    expect(await budget.spend(15)).toBe(true);
    expect(await budget.spend(1)).toBe(false);
    expect(await budget.spend(0)).toBe(false);
  });

  test("tells whoever waits no when the action ends", async () => {
    const { pot, more } = potOf(1000, 100);
    const disk = Promise.withResolvers<void>();
    pot.gate = disk.promise;
    const budget = new ByteBudget(10, more);
    const leave = budget.spend(11);
    budget.end();
    disk.resolve();
    expect(await leave).toBe(false);
    expect(await budget.spend(1)).toBe(false);
  });

  test("a block that could not be had early is asked for again, and fails there", async () => {
    let fail = true;
    const budget = new ByteBudget(10, async (needed) => {
      if (fail) throw new Error("late");
      return needed;
    });
    expect(budget.spend(9)).toBe(true);
    await new Promise((resolve) => setImmediate(resolve));
    await expect(budget.spend(9)).rejects.toThrow("late");
    fail = false;
  });

  test("two directions at once never pass more than was given", async () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 60 }), { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(sizes, sizes, fc.nat(800), fc.nat(100), async (up, down, limit, first) => {
        const { pot, more } = potOf(limit, 50);
        const budget = new ByteBudget(first, more);
        let passed = 0;
        const side = async (chunks: readonly number[]) => {
          for (const chunk of chunks) {
            if (!(await budget.spend(chunk))) return;
            passed += chunk;
            expect(passed).toBeLessThanOrEqual(first + pot.given);
          }
        };
        await Promise.all([side(up), side(down)]);
        expect(passed).toBeLessThanOrEqual(first + limit);
        const wanted = [...up, ...down].reduce((a, b) => a + b, 0);
        if (wanted <= first + limit) expect(passed).toBe(wanted);
      }),
    );
  });
});
