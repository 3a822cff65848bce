import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, test } from "vitest";
import { quarantine, release } from "../../src/cli/actions/organism.ts";
import { lacks } from "../skips.ts";
import { OPERATOR, type RunningSidecar, TENANT, World } from "./rig.ts";

const EXAMPLES = join(import.meta.dirname, "../../examples/watch");

let world: World;
let sidecar: RunningSidecar;
let readyFile: string;

beforeAll(async () => {
  world = await World.open();
  sidecar = await world.sidecar(await world.flags("one"));
  await world.watch(sidecar.ready).until("a first beat", (o) => o.state === "RUNNING");
  const { control, controlCa, audience } = world.control.ready;
  readyFile = join(world.folder, "watch.ready.json");
  const operatorKey = join(world.folder, "keys/login.key");
  const who = { audience, operator: OPERATOR, operatorKey, tenant: TENANT };
  // The name in its certificate: TLS knows no server names that are addresses.
  const address = control.replace(/^127\.0\.0\.1/, "localhost");
  writeFileSync(readyFile, JSON.stringify({ control: address, controlCa, ...who }));
});
afterAll(() => world.close());

/** A client as it stands in examples/, and what it has printed. */
class Client {
  readonly lines: string[] = [];
  readonly #process: ChildProcess;
  readonly #more = new EventTarget();

  constructor(command: string, script: string) {
    this.#process = spawn(command, [join(EXAMPLES, script), readyFile], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    createInterface({ input: this.#process.stdout as NodeJS.ReadableStream }).on("line", (line) => {
      this.lines.push(line);
      this.#more.dispatchEvent(new Event("line"));
    });
  }

  /** Resolves once it has printed a line with this word; looks from a line on. */
  async until(word: string, from = 0): Promise<number> {
    for (;;) {
      const at = this.lines.findIndex((line, i) => i >= from && line.includes(word));
      if (at >= 0) return at + 1;
      await once(this.#more, "line");
    }
  }

  /** What it told of organisms. */
  get told(): string[] {
    return this.lines.filter((line) => line.startsWith("WATCH_EVENT_ORGANISM"));
  }

  async end(): Promise<void> {
    const gone = once(this.#process, "exit");
    this.#process.kill("SIGKILL");
    await gone;
  }
}

async function watchesThrough(client: Client): Promise<void> {
  const { instanceId } = sidecar.ready;
  try {
    let seen = await client.until("SYNCED");
    await quarantine(world.operator, { instanceId, reason: "seen live" });
    seen = await client.until("QUARANTINED", seen);
    await world.stopControl();
    await world.startControl();
    await release(world.operator, { instanceId, reason: "perhaps while away", conditions: [] });
    seen = await client.until("DEGRADED", seen);
    await client.until("RUNNING", seen);
    const organism = client.told.map((line) => line.split(" "));
    expect(organism.map(([, , , state]) => state)).toEqual(
      ["RUNNING", "QUARANTINED", "DEGRADED", "RUNNING"].map((s) => `ORGANISM_STATE_${s}`),
    );
    expect(new Set(organism.map(([, , id]) => id))).toEqual(new Set([instanceId]));
    const revisions = organism.slice(1).map(([, revision]) => Number(revision));
    expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => a - b));
  } finally {
    await client.end();
  }
}

test("the JavaScript example sees each change once, across a restart of the control plane", async () => {
  await watchesThrough(new Client(process.execPath, "watch.mjs"));
});

test.skipIf(lacks("python3-grpcio"))(
  "the Python example sees each change once, across a restart of the control plane",
  async () => {
    await watchesThrough(new Client("/usr/bin/python3", "watch.py"));
  },
);
