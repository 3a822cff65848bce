import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ask } from "./calls.ts";
import { type RunningSidecar, World } from "./rig.ts";

let world: World;
let sidecar: RunningSidecar;

beforeAll(async () => {
  world = await World.open();
  sidecar = await world.sidecar(await world.flags("one"));
  await sidecar.log.until("lease");
});
afterAll(() => world.close());

test("another authority certifies sidecars, and they notice when their certificate ends, or at once if it was stolen", async () => {
  const exchange = async (...flags: string[]): Promise<void> => {
    const data = join(world.folder, "control");
    const from = sidecar.log.now;
    await world.stopControl();
    const done = world.dragons("control", "ca", "sidecars", "--data", data, ...flags);
    expect(await done.exited, done.said).toBe(0);
    await world.startControl();
    await sidecar.log.until("attached", { from });
    await sidecar.log.until("lease", { from });
    expect(await ask(sidecar.agent, "still here")).toMatchObject({ code: 0 });
  };
  const running = world.dragons(
    "control",
    "ca",
    "sidecars",
    "--data",
    join(world.folder, "control"),
  );
  expect(await running.exited, running.said).toBe(75);
  await exchange();
  await exchange("--stolen");
});

test("a control plane that lost the authority of its sidecars' certificates gets them all back by itself", async () => {
  const from = sidecar.log.now;
  await world.stopControl();
  for (const file of ["control/sidecar-ca.pem", "control.keys/sidecar-ca.key"]) {
    await rm(join(world.folder, file));
  }
  await world.startControl();
  await sidecar.log.until("attached", { from });
  await sidecar.log.until("lease", { from });
  expect(await ask(sidecar.agent, "still here")).toMatchObject({ code: 0 });
});
