import fc from "fast-check";
import { expect, test } from "vitest";
import { isId, isInstanceId, newId, newInstanceId } from "../domain/ids.ts";
import { idGenerator } from "./ids.ts";

const NOW_MS = 1_790_000_000_000;

test("an id is its prefix and a UUIDv7 in hex; an instance id the digits alone", () => {
  const gen = idGenerator({ nowMs: () => NOW_MS, randomU32: () => 0x89abcdef });
  const id = newId("rcp", gen);
  expect(id).toMatch(/^rcp_01a0c4506c007[0-9a-f]{3}[89ab][0-9a-f]{15}$/);
  expect(isId("rcp", id)).toBe(true);
  expect(isInstanceId(newInstanceId(gen))).toBe(true);
});

test("there is one spelling of an id", () => {
  const id = "rcp_0189dcd553117d408db09496a2eef37b";
  expect(isId("rcp", id)).toBe(true);
  const wrong = [
    "lse_0189dcd553117d408db09496a2eef37b",
    id.toUpperCase(),
    `${id}0`,
    id.slice(0, -1),
    "rcp_0189dcd553114d408db09496a2eef37b", // version 4
    "rcp_0189dcd553117d40cdb09496a2eef37b", // another variant
    "rcp_0189dcd5-5311-7d40-8db0-9496a2eef37b",
    "",
  ];
  for (const s of wrong) expect([s, isId("rcp", s)]).toEqual([s, false]);
  expect(isInstanceId(id.slice(4))).toBe(true);
  expect(isInstanceId(id)).toBe(false);
  expect(isInstanceId(`${id.slice(4)}\n`)).toBe(false);
});

test("ids strictly increase, however the clock jumps", () => {
  const clock = fc.array(fc.nat(2 ** 46), { minLength: 2, maxLength: 50 });
  fc.assert(
    fc.property(clock, (readings) => {
      let at = 0;
      const gen = idGenerator({ nowMs: () => readings[at++] as number });
      let last = "";
      for (const _ of readings) {
        const id = gen.next();
        expect(id > last).toBe(true);
        last = id;
      }
    }),
  );
});

test("ids strictly increase while the clock stands still and the counter is full", () => {
  const gen = idGenerator({ nowMs: () => NOW_MS, randomU32: () => 0xffff_ffff });
  let last = "";
  for (let i = 0; i < 10_000; i++) {
    const id = gen.next();
    expect(id > last).toBe(true);
    last = id;
  }
});

test("a generator seeded with an id goes on above it, though the clock fell", () => {
  const greatest = newId("rcp", idGenerator({ nowMs: () => NOW_MS, randomU32: () => 0xffff_ffff }));
  fc.assert(
    fc.property(fc.nat(2 * NOW_MS), (nowMs) => {
      const gen = idGenerator({ nowMs: () => nowMs, above: greatest });
      expect(newId("rcp", gen) > greatest).toBe(true);
    }),
  );
  expect(() => idGenerator({ above: "rcp_nonsense" })).toThrow(SyntaxError);
});
