import { expect, test } from "vitest";
import { utf8 } from "../domain/bytes.ts";
import { message, u32 } from "../domain/canonical.ts";
import { embeddedControlStore } from "../storage/control-embedded.ts";
import { FormatUnknown, upgradeFormat } from "../storage/format.ts";
import { memoryStore } from "../storage/memory.ts";
import { CONTROL_FORMAT } from "./format.ts";
import { OrganismRow, organismKey } from "./organism-row.ts";

const KEY = utf8("format");
const Stamp = message("format", { version: u32(1) });
const bytes = (...all: number[]): Uint8Array => Uint8Array.from(all);

test("an organism's rows of the last release are one row now, and nothing else has changed", async () => {
  const rows = memoryStore();
  const store = embeddedControlStore(rows);
  for (const [n, tenant] of ["one", "two"].entries()) {
    await store.apply({
      tenant,
      ownerEpoch: await store.own(tenant),
      expected: [],
      writes: [
        { key: "organism/ins_1", value: bytes(1, n) },
        { key: "beat/ins_1", value: bytes(2, n) },
        { key: "horizon/ins_1", value: bytes(3, n) },
        { key: "organism/ins_2", value: bytes(4, n) },
        { key: "observer", value: bytes(5, n) },
      ],
      appends: [{ log: "organism/log", seq: 1, value: bytes(6, n) }],
    });
  }
  await rows.commit([{ key: KEY, value: Stamp.encode({ version: 1 }) }]);
  await upgradeFormat(rows, CONTROL_FORMAT);

  const after = embeddedControlStore(rows);
  for (const [n, tenant] of ["one", "two"].entries()) {
    const kept = await after.list(tenant, { prefix: "", after: "", limit: 10 });
    expect(kept.map(({ key, value }) => [key, value])).toEqual([
      ["observer", bytes(5, n)],
      [organismKey("ins_1"), OrganismRow.encode({ view: bytes(1, n), beat: bytes(2, n) })],
      [organismKey("ins_2"), OrganismRow.encode({ view: bytes(4, n), beat: bytes() })],
    ]);
    expect(await after.read(tenant, "organism/log", { from: 1, limit: 2 })).toEqual([
      { seq: 1, value: bytes(6, n) },
    ]);
  }
});

test("what was written before forms were numbered is refused", async () => {
  const rows = memoryStore();
  await rows.commit([{ key: utf8("tone"), value: bytes(1) }]);
  await expect(upgradeFormat(rows, CONTROL_FORMAT)).rejects.toThrow(FormatUnknown);
});
