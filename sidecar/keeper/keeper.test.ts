import { beforeEach, describe, expect, test } from "vitest";
import { keeperBackoffUs, keeperPingsMax, keeperPingUs } from "../../src/domain/limits.ts";
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
let started: Started;
let starts: number;
let keeper: Keeper;

const turn = (): Promise<void> => new Promise(setImmediate);
const last = (): Fake => sidecars.at(-1) as Fake;

function startSidecar(running: number | null, onMessage: (m: FromSidecar) => void): SidecarProcess {
  const exited = Promise.withResolvers<number>();
  const fake: Fake = {
    pid: 100 + sidecars.length,
    running,
    told: [],
    stopped: false,
    tell: (message) => void fake.told.push(message),
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
  started = { pid: 42 };
  const ended = Promise.withResolvers<number>();
  cageEnds = ended.resolve;
  const cage: Cage = {
    transparent: 4,
    dns: [],
    start: async () => {
      starts++;
      return started;
    },
    exited: ended.promise,
    signal: (name) => void signals.push(name),
    kill: () => ended.resolve(137),
  };
  keeper = new Keeper({
    cage,
    clock,
    report: () => {},
    manifestHash: HASH,
    snapshot: [],
    command: ["true"],
    environment: () => ({}),
    startSidecar,
  });
  keeper.begin();
});

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
    expect(signals).toEqual(["SIGHUP", "SIGTERM"]);
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
