import { expect, test } from "vitest";
import { beatsRememberedMax, notesRememberedMax } from "../../src/domain/limits.ts";
import { BeatMemory } from "./beat-memory.ts";

const beat = (n: number) => ({ body: Uint8Array.of(n % 256), signatures: [] });
const note = (size: number, line: string) => `dragons/ledger/00\n${size}\nroot\n\n— ${line}\n`;

test("of each head the first countersignature and the newest are kept, and the newest heads", () => {
  const memory = new BeatMemory();
  for (const line of ["a", "b", "c"]) memory.cosigned(note(1, line));
  memory.cosigned(note(2, "d"));
  expect(memory.notes()).toEqual([note(1, "a"), note(1, "c"), note(2, "d")]);
  for (let size = 3; size <= notesRememberedMax + 1; size++) memory.cosigned(note(size, "e"));
  expect(memory.notes()[0]).toBe(note(2, "d"));
});

test("the newest heartbeats are kept, in their order", () => {
  const memory = new BeatMemory();
  for (let n = 0; n < beatsRememberedMax + 2; n++) memory.beaten(beat(n));
  expect(memory.beats()).toHaveLength(beatsRememberedMax);
  expect(memory.beats()[0]).toEqual(beat(2));
});
