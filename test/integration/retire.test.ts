import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sidecarStatus } from "../../src/cli/actions/evidence.ts";
import { retireManifest } from "../../src/cli/actions/manifest.ts";
import { fileSigner } from "../../src/native/keys.ts";
import { ask, openChat } from "./calls.ts";
import { type RunningSidecar, World } from "./rig.ts";

/** An identity that operators took back: it ends where it runs, and comes back nowhere. */

let world: World;
let sidecar: RunningSidecar;
let flags: string[];

beforeEach(async () => {
  world = await World.open({ leaseTtlUs: 4_000_000 });
  flags = await world.flags("one");
  sidecar = await world.sidecar(flags);
  await sidecar.log.until("lease");
});
afterEach(() => world.close());

async function retire(): Promise<void> {
  const signer = await fileSigner(join(world.folder, "keys", "grant.key"));
  const what = { hash: world.measured.hash, reason: "v1 leaks" };
  await retireManifest(world.operator, [signer], what);
}

test("a retired manifest cuts what runs, denies by its name, and survives a restart", async () => {
  const chat = await openChat(sidecar.agent);
  await retire();
  expect(await chat.ended).toMatchObject({ code: 7, reason: "MANIFEST_RETIRED" });
  expect(await ask(sidecar.agent, "hello")).toMatchObject({ code: 7, reason: "MANIFEST_RETIRED" });
  await sidecar.stop();
  const again = await world.sidecar(flags);
  expect(await ask(again.agent, "hello")).toMatchObject({ code: 7, reason: "MANIFEST_RETIRED" });
  expect((await sidecarStatus(again.admin)).standing).toBe("MANIFEST_RETIRED");
});

test("and opens no further door: no dock is recorded under it", async () => {
  await retire();
  await expect(world.token()).rejects.toMatchObject({ reason: "MANIFEST_RETIRED" });
});
