import { beforeEach, describe, expect, test } from "vitest";
import {
  agentBackoffMinUs,
  keeperBackoffUs,
  keeperPingsMax,
  keeperPingUs,
} from "../../src/domain/limits.ts";
import type { Restart } from "../../src/domain/restart.ts";
import { ManualClock } from "../../src/native/clock.ts";
import type { Cage, Started } from "../cage/cage.ts";
import { Keeper } from "./keeper.ts";
import type { SidecarProcess } from "./sidecar-process.ts";
import type { FromKeeper, FromSidecar } from "./words.ts";

/** A keeper over a cage and sidecars that do as they are told. */

const HASH = "ab".repeat(32);
const LAUNCH: FromSidecar = {
  say: "launch",
  manifestHash: HASH,
  caFile: import.meta.filename,
  bundleFile: import.meta.filename,
};

interface Fake extends SidecarProcess {
  /** The cages whose listeners it has or had. */
  readonly cages: Cage[];
  readonly running: number | null;
  readonly told: FromKeeper[];
  say(message: FromSidecar): void;
  end(code: number): Promise<void>;
  stopped: boolean;
}

let clock: ManualClock;
let sidecars: Fake[];
let signals: string[];
let cageEnds: (code: number) => void;
let cages: Cage[];
let started: Started;
let starts: number;
let released: number;
/** What the files of the agent are found to be, before it is started again. */
let measured: string | null;
let keeper: Keeper;

const turn = (): Promise<void> => new Promise(setImmediate);
const last = (): Fake => sidecars.at(-1) as Fake;

function startSidecar(
  cage: Cage,
  running: number | null,
  onMessage: (m: FromSidecar) => void,
): SidecarProcess {
  const exited = Promise.withResolvers<number>();
  const fake: Fake = {
    pid: 100 + sidecars.length,
    cages: [cage],
    running,
    told: [],
    stopped: false,
    tell: (message) => void fake.told.push(message),
    listen: (next) => void fake.cages.push(next),
    exited: exited.promise,
    isStopped: () => fake.stopped,
    kill: () => exited.resolve(137),
    say: onMessage,
    end(code) {
      exited.resolve(code);
      return turn();
    },
  };
  sidecars.push(fake);
  return fake;
}

beforeEach(() => {
  clock = new ManualClock(1_800_000_000_000_000);
  sidecars = [];
  signals = [];
  starts = 0;
  released = 0;
  cages = [];
  measured = null;
  started = { pid: 42 };
  keep("never");
});

function openCage(): Cage {
  const ended = Promise.withResolvers<number>();
  cageEnds = ended.resolve;
  const cage: Cage = {
    transparent: { fd: 4, close() {} },
    dns: [],
    start: async () => {
      starts++;
      return started;
    },
    exited: ended.promise,
    signal: (name) => void signals.push(name),
    kill: () => ended.resolve(137),
    release: () => void released++,
  };
  cages.push(cage);
  return cage;
}

function keep(policy: Restart): void {
  sidecars = [];
  cages = [];
  keeper = new Keeper({
    cage: openCage(),
    openCage: async () => {
      if (measured !== null) throw new Error(measured);
      return openCage();
    },
    policy,
    clock,
    report: () => {},
    manifestHash: HASH,
    snapshot: [],
    command: ["true"],
    environment: () => ({}),
    startSidecar,
  });
  keeper.begin();
}

async function launched(): Promise<void> {
  last().say(LAUNCH);
  await turn();
}

describe("an agent", () => {
  test("is started once, when its sidecar asks for it, and its code is ours", async () => {
    expect(starts).toBe(0);
    await launched();
    last().say(LAUNCH);
    expect([starts, last().told]).toEqual([1, [{ say: "started", pid: 42 }]]);
    cageEnds(7);
    await turn();
    expect(last().told.at(-1)).toEqual({ say: "ended", exit: 7 });
    await last().end(0);
    expect(await keeper.done).toBe(7);
  });

  test("is not started where its sidecar measured something else: 78", async () => {
    last().say({ ...LAUNCH, manifestHash: "cd".repeat(32) } as FromSidecar);
    await turn();
    await last().end(0);
    expect([starts, await keeper.done]).toEqual([0, 78]);
  });

  test("that cannot be executed ends with the code for it", async () => {
    started = { exit: 127, why: "nothing: ENOENT" };
    await launched();
    await last().end(0);
    expect(await keeper.done).toBe(127);
  });

  test("gets the signals; before it runs, they end the run", async () => {
    await launched();
    keeper.signal("SIGHUP", 1);
    last().say({ say: "signal", name: "SIGTERM" });
    // One that is suspended hears nothing before it goes on.
    expect(signals).toEqual(["SIGHUP", "SIGTERM", "SIGCONT"]);
  });
});

describe("an agent that is followed by another", () => {
  beforeEach(async () => {
    keep("on-failure");
    await launched();
  });

  /** The one that runs ends, and its time until the next has passed. */
  async function end(code: number): Promise<void> {
    cageEnds(code);
    await turn();
    clock.advance(agentBackoffMinUs);
    await turn();
  }

  test("has a cage of its own, which the same sidecar serves", async () => {
    started = { pid: 43 };
    await end(3);
    expect([starts, released]).toEqual([2, 1]);
    expect(sidecars.map((s) => s.cages)).toEqual([cages]);
    expect(last().told).toEqual([
      { say: "started", pid: 42 },
      { say: "left" },
      { say: "started", pid: 43 },
    ]);
    await end(0);
    expect(last().told.at(-1)).toEqual({ say: "ended", exit: 0 });
    await last().end(0);
    expect(await keeper.done).toBe(0);
  });

  test("is not started from files that are no longer as measured", async () => {
    measured = "/agent.py was changed";
    await end(3);
    expect([starts, cages.length]).toEqual([1, 1]);
  });

  test("is followed because its sidecar asks, however it ends", async () => {
    last().say({ say: "restart" });
    expect(signals).toEqual(["SIGTERM", "SIGCONT"]);
    await end(0);
    expect(starts).toBe(2);
  });

  test("waits for no sidecar, and the next one finds it between two starts", async () => {
    cageEnds(3);
    await turn();
    await last().end(137);
    clock.advance(keeperBackoffUs);
    expect(last().running).toBe(0);
    expect(last().cages).toEqual(cages);
    clock.advance(agentBackoffMinUs);
    await turn();
    expect(last().cages).toEqual(cages);
    expect([sidecars.length, starts]).toEqual([2, 2]);
  });

  test.each([
    ["a signal", () => keeper.signal("SIGTERM", 15)],
    ["an operator", () => last().say({ say: "signal", name: "SIGTERM" })],
    ["whoever sits at its terminal", () => keeper.over()],
  ])("is followed by none once %s told it to end", async (_, tell) => {
    tell();
    cageEnds(143);
    await turn();
    await last().end(0);
    expect([await keeper.done, starts]).toEqual([143, 1]);
  });

  test("goes on being followed after SIGUSR1, which is the agent's own", async () => {
    keeper.signal("SIGUSR1", 10);
    await end(3);
    expect([signals, starts]).toEqual([["SIGUSR1"], 2]);
  });
});

describe("a sidecar", () => {
  test("that cannot begin ends the run with its code", async () => {
    await last().end(78);
    expect(await keeper.done).toBe(78);
  });

  test("that ends is followed by one that knows of the agent, later each time", async () => {
    await launched();
    for (const waitUs of [keeperBackoffUs, 2 * keeperBackoffUs, 4 * keeperBackoffUs]) {
      const before = sidecars.length;
      await last().end(137);
      clock.advance(waitUs - 1);
      expect(sidecars).toHaveLength(before);
      clock.advance(1);
      expect(sidecars).toHaveLength(before + 1);
      expect(last().running).toBe(42);
    }
    expect(starts).toBe(1);
  });

  test("that hands over is followed at once", async () => {
    await launched();
    keeper.handOver();
    expect(last().told.at(-1)).toEqual({ say: "hand over" });
    await last().end(0);
    clock.advance(0);
    expect(sidecars).toHaveLength(2);
  });

  async function ask(times: number): Promise<void> {
    for (let i = 0; i < times; i++) {
      clock.advance(keeperPingUs);
      await turn();
    }
  }

  test("whose loop no longer turns is killed; not before it ever answered", async () => {
    await launched();
    await ask(2 * keeperPingsMax);
    expect(sidecars).toHaveLength(1);
    last().say({ say: "pong" });
    await ask(keeperPingsMax);
    expect(sidecars).toHaveLength(1);
    await ask(2);
    expect(sidecars).toHaveLength(2);
  });

  test("that somebody has stopped is left alone", async () => {
    await launched();
    last().say({ say: "pong" });
    last().stopped = true;
    await ask(2 * keeperPingsMax);
    expect(sidecars).toHaveLength(1);
  });
});
