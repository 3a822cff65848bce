import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { quarantine, release } from "../../src/cli/actions/organism.ts";
import { StatusError, shuttingDown } from "../../src/wire/status.ts";
import { ECHO } from "../datapath/echo.ts";
import { lacks } from "../skips.ts";
import { ask } from "./calls.ts";
import { cuttingControl } from "./cutting-control.ts";
import { OPERATOR, type RunningSidecar, SCOPE, TENANT, World } from "./rig.ts";

const EXAMPLES = join(import.meta.dirname, "../../examples/watch");

let world: World;
let sidecar: RunningSidecar;
let readyFile: string;

beforeAll(async () => {
  world = await World.open();
  sidecar = await world.sidecar(await world.flags("one"));
  await world.watch(sidecar.ready).until("a first beat", (o) => o.state === "RUNNING");
  const { control, controlCa } = world.control.ready;
  // The name in its certificate: TLS knows no server names that are addresses.
  const address = control.replace(/^127\.0\.0\.1/, "localhost");
  readyFile = readyFileOf("watch", { control: address, controlCa });
});
afterAll(() => world.close());

/** What a client finds a control plane by. */
function readyFileOf(name: string, at: { control: string; controlCa: string }): string {
  const file = join(world.folder, `${name}.ready.json`);
  const { control, controlCa } = at;
  const { audience } = world.control.ready;
  const who = { operator: OPERATOR, operatorKey: join(world.folder, "keys/login.key") };
  writeFileSync(file, JSON.stringify({ control, controlCa, audience, ...who, tenant: TENANT }));
  return file;
}

type Program = readonly [command: string, script: string];

/** A client as it stands in examples/, and what it has printed. */
class Client {
  readonly lines: string[] = [];
  /** On standard error. */
  said = "";
  readonly #process: ChildProcessByStdio<null, Readable, Readable>;
  readonly #gone: Promise<unknown>;
  readonly #more = new EventTarget();

  constructor([command, script]: Program, ready: string, ...words: string[]) {
    this.#process = spawn(command, [join(EXAMPLES, script), ready, ...words], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#gone = once(this.#process, "close");
    this.#process.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.said += text;
    });
    createInterface({ input: this.#process.stdout }).on("line", (line) => {
      this.lines.push(line);
      this.#more.dispatchEvent(new Event("line"));
    });
  }

  /** Resolves once it has printed a line with this word; looks from a line on. */
  async until(word: string, from = 0): Promise<number> {
    const gone = this.#gone.then(() => {
      throw new Error(`the client ended: ${this.said}`);
    });
    for (;;) {
      const at = this.lines.findIndex((line, i) => i >= from && line.includes(word));
      if (at >= 0) {
        // It may end now.
        gone.catch(() => {});
        return at + 1;
      }
      await Promise.race([once(this.#more, "line"), gone]);
    }
  }

  /** What it told of organisms or receipts, word by word. */
  get told(): string[][] {
    const told = this.lines.map((line) => line.split(" "));
    return told.filter(([event = ""]) => /_(ORGANISM|RECEIPT)$/.test(event));
  }

  async end(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#gone;
  }
}

async function seesOrganisms(program: Program): Promise<void> {
  const client = new Client(program, readyFile);
  const { instanceId } = sidecar.ready;
  try {
    let seen = await client.until("SYNCED");
    await quarantine(world.operator, { instanceId, reason: "seen live" });
    seen = await client.until("QUARANTINED", seen);
    await world.stopControl();
    await world.startControl();
    const from = sidecar.log.now;
    await release(world.operator, { instanceId, reason: "perhaps while away", conditions: [] });
    seen = await client.until("DEGRADED", seen);
    await client.until("RUNNING", seen);
    await sidecar.log.until("lease", { from });
    expect(client.told.map(([, , , state]) => state)).toEqual(
      ["RUNNING", "QUARANTINED", "DEGRADED", "RUNNING"].map((s) => `ORGANISM_STATE_${s}`),
    );
    expect(new Set(client.told.map(([, , id]) => id))).toEqual(new Set([instanceId]));
    const revisions = client.told.slice(1).map(([, revision]) => Number(revision));
    expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => a - b));
  } finally {
    await client.end();
  }
}

async function seesReceipts(program: Program): Promise<void> {
  const all = new Client(program, readyFile, "--receipts");
  const denials = new Client(program, readyFile, "--denials");
  const { agent } = sidecar;
  const { ledgerId } = sidecar.ready;
  const completes = async (): Promise<void> =>
    expect(await ask(agent, "hello")).toMatchObject({ code: 0 });
  const refuses = async (): Promise<void> => {
    const refused = await ask(agent, "hello", { path: ECHO.forbidden.path });
    expect(refused).toMatchObject({ reason: "SCOPE_NOT_GRANTED" });
  };
  try {
    await Promise.all([all.until("SYNCED"), denials.until("SYNCED")]);
    await completes();
    await refuses();
    const seen = [await all.until("DENIED"), await denials.until("DENIED")];
    await world.stopControl();
    await completes();
    await refuses();
    await world.startControl();
    await Promise.all([all.until("DENIED", seen[0]), denials.until("DENIED", seen[1])]);

    const ways = [
      "VERDICT_COMPLETED REASON_UNSPECIFIED",
      "VERDICT_DENIED REASON_SCOPE_NOT_GRANTED",
    ];
    expect(all.told.map(([, , ...rest]) => rest.join(" "))).toEqual(
      [...ways, ...ways].map((way) => `${ledgerId} ${way} ${SCOPE}`),
    );
    const first = Number(all.told[0]?.[1]);
    expect(all.told.map(([, seq]) => Number(seq))).toEqual([0, 1, 2, 3].map((n) => first + n));
    expect(denials.told).toEqual([all.told[1], all.told[3]]);
  } finally {
    await Promise.all([all.end(), denials.end()]);
  }
}

async function goesOn(program: Program, ...words: string[]): Promise<void> {
  const slow = new StatusError("RESOURCE_EXHAUSTED", "READER_TOO_SLOW", "this watch is not read", {
    resume_token: "3",
  });
  const nowhere = new StatusError("OUT_OF_RANGE", "TOKEN_EXPIRED", "too old; list again");
  const control = await cuttingControl(world.folder, [
    { tells: [1, 2, 3], end: slow },
    { tells: [4, 5], end: shuttingDown() },
    { tells: [], end: nowhere },
    { tells: [6] },
  ]);
  const client = new Client(program, readyFileOf("cutting", control), ...words);
  try {
    await client.until(" 6 ");
    expect(client.told.map(([, n]) => Number(n))).toEqual([1, 2, 3, 4, 5, 6]);
    expect(control.asked).toEqual(["", "3", "5", ""]);
    expect(client.said).toBe("begins anew: too old; list again\n");
  } finally {
    await client.end();
    await control.close();
  }
}

/** A way to the control plane that leaves whoever comes first without an answer. */
async function darkAtFirst(): Promise<{ address: string; close(): void }> {
  const port = Number(world.control.ready.control.split(":").at(-1));
  const ends: Socket[] = [];
  const server = createServer((near) => {
    const first = ends.push(near) === 1;
    near.on("error", () => {});
    if (first) return;
    const far = connect(port, "127.0.0.1");
    far.on("error", () => {});
    ends.push(far);
    near.pipe(far).pipe(near);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const close = (): void => {
    server.close();
    for (const end of ends) end.destroy();
  };
  return { address: `localhost:${(server.address() as AddressInfo).port}`, close };
}

/** Comes by a way that is dark at first. TLS would be waited for without end, and TCP for minutes. */
async function comesBack(program: Program): Promise<void> {
  const way = await darkAtFirst();
  const { controlCa } = world.control.ready;
  const at = { control: way.address, controlCa };
  const client = new Client(program, readyFileOf(`dark-${program[1]}`, at));
  try {
    await client.until("SYNCED");
  } finally {
    await client.end();
    way.close();
  }
}

function watches(program: Program): void {
  test("sees each change once, across a restart of the control plane", async () => {
    await seesOrganisms(program);
  });
  test("sees each receipt once, or each denial alone, also of a time without a control plane", async () => {
    await seesReceipts(program);
  });
  test.each([
    ["organisms", []],
    ["receipts", ["--receipts"]],
  ])(
    "of %s goes on where it was when it read too slowly, and begins anew with a token of nowhere",
    async (_, words) => {
      await goesOn(program, ...words);
    },
  );
}

const JAVASCRIPT: Program = [process.execPath, "watch.mjs"];
const PYTHON: Program = ["/usr/bin/python3", "watch.py"];

describe("the JavaScript example", () => watches(JAVASCRIPT));

describe.skipIf(lacks("python3-grpcio"))("the Python example", () => watches(PYTHON));

test("an example gives up a connection that goes dark before it is one, and comes by another", async () => {
  await Promise.all((lacks("python3-grpcio") ? [JAVASCRIPT] : [JAVASCRIPT, PYTHON]).map(comesBack));
});
