import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ask, openChat } from "./calls.ts";
import { type RunningSidecar, World } from "./rig.ts";

/** Leases so long that no renewal can be what finds it. */
const MINUTE_US = 60_000_000;

let world: World;
let sidecar: RunningSidecar;

beforeEach(async () => {
  world = await World.open({ leaseTtlUs: MINUTE_US });
  sidecar = await world.sidecar(await world.flags("one"));
  await sidecar.log.until("lease");
});
afterEach(() => world.close());

const leases = () => sidecar.log.said.filter((s) => s.event === "lease").length;

test.each([
  ["a file of the agent's", "agent.py", "print('something else')\n"],
  ["its dragon.yaml", "dragon.yaml", "name: echoer\nversion: v2\ncode: [agent.py]\n"],
])(
  "%s that changes is found by itself, under the same lease: streams end, calls are denied",
  async (_, name, text) => {
    const chat = await openChat(sidecar.agent);
    await writeFile(join(world.agentFolder, name), text);
    expect(await chat.ended).toMatchObject({ code: 7, reason: "MANIFEST_DRIFT" });
    expect(await ask(sidecar.agent, "hello")).toMatchObject({ code: 7, reason: "MANIFEST_DRIFT" });
    expect(leases()).toBe(1);
  },
);

test("a file that is none of its manifest changes nothing", async () => {
  await writeFile(join(world.agentFolder, "agent.log"), "it works\n");
  await writeFile(join(world.agentFolder, "notes.txt"), "it works\n");
  expect(await ask(sidecar.agent, "hello")).toMatchObject({ code: 0 });
  // A change that counts is found after those that do not.
  await writeFile(join(world.agentFolder, "agent.py"), "print('something else')\n");
  await sidecar.log.until("drift");
  expect(sidecar.log.said.filter((s) => s.event === "drift")).toHaveLength(1);
});
