import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { CONTROL_FORMAT } from "../../src/control/format.ts";
import { utf8 } from "../../src/domain/bytes.ts";
import { message, u32 } from "../../src/domain/canonical.ts";
import { LEDGER_FORMAT } from "../../src/storage/format.ts";
import { openLmdb } from "../../src/storage/lmdb.ts";
import { ask } from "./calls.ts";
import { World } from "./rig.ts";

/** One release after another on the same data: this one reads what the last one wrote, and no more. */

const Stamp = message("format", { version: u32(1) });
const KEY = utf8("format");

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world.close());

/** Makes a store one that a release with this format wrote; 0 is from before there were numbers. */
async function stamp(folder: string, version: number): Promise<void> {
  const store = openLmdb(folder);
  await store.commit([{ key: KEY, value: version === 0 ? null : Stamp.encode({ version }) }]);
  await store.close();
}

async function refused(...words: string[]): Promise<string> {
  const process = world.dragons(...words);
  expect(await process.exited).toBe(78);
  return process.said;
}

test("a sidecar goes on with the last release's ledger, and refuses the next one's, untouched", async () => {
  const flags = await world.flags("one");
  const first = await world.sidecar(flags);
  await first.log.until("lease");
  expect(await ask(first.agent, "hello")).toMatchObject({ code: 0 });
  await first.stop();
  const folder = join(first.data, "ledger");

  await stamp(folder, LEDGER_FORMAT.version + 1);
  const [data, journal] = [join(folder, "data.mdb"), join(folder, "journal")];
  const before = await Promise.all([readFile(data), readFile(journal)]);
  expect(await refused("sidecar", ...flags)).toMatch(
    /the ledger has format \d+, written by a newer release; this one reads up to \d+/,
  );
  expect(await Promise.all([readFile(data), readFile(journal)])).toEqual(before);

  await stamp(folder, LEDGER_FORMAT.version - 1);
  const again = await world.sidecar(flags);
  expect(again.ready.ledgerId).toBe(first.ready.ledgerId);
  await again.log.until("lease");
  expect(await world.anchored(again)).toMatchObject({ verdict: "ANCHORED", broken: null });
});

test("a control plane goes on with the last release's data, and refuses the next one's", async () => {
  const sidecar = await world.sidecar(await world.flags("one"));
  await sidecar.log.until("lease");
  await world.stopControl();
  const { data } = world.control.ready;

  await stamp(join(data, "store"), CONTROL_FORMAT.version + 1);
  expect(await refused("control", "--data", data, "--listen", "127.0.0.1:0")).toMatch(
    /the control plane's data has format \d+, written by a newer release/,
  );

  await stamp(join(data, "store"), CONTROL_FORMAT.version - 1);
  const from = sidecar.log.now;
  await world.startControl();
  await sidecar.log.until("lease", { from });
});
