import { writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { exportPack } from "../../src/verifier/export.ts";
import { collect, crypto, SECOND, START_US, Story } from "../verifier/build.ts";
import { ControlStory } from "../verifier/control-story.ts";
import { trustJson } from "../verifier/trust-json.ts";
import { Terminal } from "./terminal.ts";

/** Proof that an agent did nothing: design of liveness, "Proof of inactivity". */

let terminal: Terminal;
let story: Story;
let underWay = 0;

/** `2026-…Z`, so many seconds into the story. */
const at = (seconds: number): string =>
  new Date(START_US / 1000 + seconds * 1000).toISOString().replace(".000Z", "Z");

/** Five seconds later: a heartbeat, what it is answered with, and the lease that the next one is under. */
async function pulse(s: Story): Promise<void> {
  s.tick(5 * SECOND);
  await s.beat();
  await s.checkpoint();
  await s.lease();
}

/** An action at 1 s; idle from 6 to 26 s; from 27 to 46 s an action under way; idle again to 66 s. */
async function quietTwice(): Promise<Story> {
  const s = await Story.begin({ heartbeat: (b) => ({ ...b, inFlight: underWay }) });
  await s.lifecycle();
  await s.lease();
  await s.act();
  for (let i = 0; i < 5; i++) await pulse(s);
  const close = s.begin();
  underWay = 1;
  for (let i = 0; i < 4; i++) await pulse(s);
  underWay = 0;
  await close();
  for (let i = 0; i < 4; i++) await pulse(s);
  return s;
}

beforeAll(async () => {
  terminal = await Terminal.open();
  story = await quietTwice();
  await writeFile("trust.json", JSON.stringify(trustJson(story.trust)));
  await writeFile("pack", await story.pack());
});
afterAll(() => terminal.close());

const ask = (pack: string, ...words: string[]) =>
  terminal.dragons("evidence", "inactivity", pack, "--trust", "trust.json", ...words);

const asked = async (pack: string, ...words: string[]) => {
  const { code, out } = await ask(pack, "-o", "json", ...words);
  const [ledger] = JSON.parse(out).ledgers;
  const time = (us: number) => (us === 0 ? 0 : (us - START_US) / SECOND);
  const timed = (t: { fromUs: number; untilUs: number }) => [time(t.fromUs), time(t.untilUs)];
  return {
    code,
    time: timed(ledger),
    idle: ledger.spans.map(timed),
    gaps: ledger.gaps.map((g: { fromUs: number; untilUs: number; why: string }) => [
      ...timed(g),
      g.why,
    ]),
  };
};

test("0: all of the time that is asked for lies between two moments of one head with nothing begun", async () => {
  const { code, out, err } = await ask("pack", "--since", at(8), "--until", at(20));
  expect({ code, err }).toEqual({ code: 0, err: "" });
  expect(out).toMatch(/^ANCHORED: /);
  expect(out).toContain("\nIDLE: 1 of 1 ledger proven ");
  expect(await asked("pack", "--since", at(8), "--until", at(20))).toEqual({
    code: 0,
    time: [8, 20],
    idle: [[7, 21]],
    gaps: [],
  });
});

test("names what is signed: the checkpoint, the heartbeats and the lease", async () => {
  const { out } = await ask("pack", "--since", at(8), "--until", at(20));
  const beats = "heartbeats 1 to 5 of session 1 (the last hbt_";
  expect(out).toContain(`idle      ${at(7)} to ${at(21)}: 1 action begun before; checkpoint of 2 `);
  expect(out).toContain(beats);
  expect(out).toContain(`, lease ${story.leases[4]?.body.leaseId}\n`);
});

test("3: an action under way leaves the head as it is, and its countersignatures prove nothing", async () => {
  // Head 2 was countersigned until 46 s, and the action begun at 27 s.
  expect(await asked("pack", "--since", at(8), "--until", at(40))).toEqual({
    code: 3,
    time: [8, 40],
    idle: [[7, 21]],
    gaps: [[21, 40, "a heartbeat under a lease of that time tells of an action under way"]],
  });
});

test("unasked, the time is all that heads and heartbeats bound, with receipts named in between", async () => {
  expect(await asked("pack")).toEqual({
    code: 3,
    time: [7, 62],
    idle: [
      [7, 21],
      [53, 62],
    ],
    gaps: [[21, 53, "receipt 3 came between the heads on either side"]],
  });
  expect((await ask("pack", "-o", "name")).out).toBe("UNPROVEN\n");
  const { code, out } = await ask("pack", "--since", at(53), "-o", "name");
  expect({ code, out }).toEqual({ code: 0, out: "IDLE\n" });
});

test("3: what lies before the first countersigned head or after the last dated heartbeat is not called idle", async () => {
  const before = "no head of it was countersigned before";
  const after = "no heartbeat of it is under a lease issued later";
  expect(await asked("pack", "--since", at(2), "--until", at(10))).toMatchObject({
    code: 3,
    gaps: [[2, 7, before]],
  });
  expect(await asked("pack", "--since", at(55), "--until", at(90))).toMatchObject({
    code: 3,
    gaps: [[62, 90, after]],
  });
  expect(await asked("pack", "--until", at(3))).toMatchObject({ code: 3, gaps: [[0, 3, before]] });
  expect(await asked("pack", "--since", at(70))).toMatchObject({ code: 3, gaps: [[70, 0, after]] });
});

test("3: without heartbeats in a row nothing is proven, however often a head was countersigned", async () => {
  const { heartbeats } = story.evidence();
  const everyOther = heartbeats.filter((_, i) => i % 2 === 0);
  await writeFile("gaps", await story.pack({}, { heartbeats: everyOther }));
  expect(await asked("gaps", "--since", at(8), "--until", at(15))).toMatchObject({
    code: 3,
    idle: [],
    gaps: [
      [
        8,
        15,
        "head 2 stood, and no two heartbeats in a row, under a lease issued since, state it with nothing under way",
      ],
    ],
  });
  const receipt = "receipt 3 came between the heads on either side";
  expect(await asked("gaps", "--since", at(2), "--until", at(90))).toMatchObject({
    idle: [],
    gaps: [
      [2, 7, "no head of it was countersigned before"],
      [7, 62, receipt],
      [62, 90, "no heartbeat of it is under a lease issued later"],
    ],
  });
  await writeFile("none", await story.pack({}, { heartbeats: [] }));
  // Its heads are known all the same, and tell of something that was done.
  expect(await asked("none")).toMatchObject({ code: 3, idle: [], gaps: [[7, 68, receipt]] });
});

test("0: a heartbeat that is missing between two that state the same counts hides nothing", async () => {
  const { heartbeats } = story.evidence();
  await writeFile(
    "less",
    await story.pack({}, { heartbeats: heartbeats.filter((_, i) => i !== 2) }),
  );
  expect(await asked("less", "--since", at(8), "--until", at(20))).toMatchObject({
    code: 0,
    idle: [[7, 21]],
  });
});

test("3: of a part of a ledger, a head before it is the heartbeats' own if its root is", async () => {
  const withRoot = async (name: string, root?: Uint8Array) => {
    const s = await Story.begin({ heartbeat: (b) => ({ ...b, ...(root && { root }) }) });
    await s.lifecycle();
    await s.lease();
    await s.act();
    for (let i = 0; i < 3; i++) await pulse(s);
    for (let i = 0; i < 3; i++) await s.act();
    await writeFile(name, await s.pack({ range: { from: 4, to: 5 } }));
    return asked(name, "--since", at(8), "--until", at(10));
  };
  expect(await withRoot("same")).toMatchObject({ code: 0, idle: [[7, 11]] });
  expect(await withRoot("other", new Uint8Array(32).fill(9))).toMatchObject({ code: 3, idle: [] });
});

test("3: heartbeats that nobody countersigned a head of are their ledger's word alone", async () => {
  await writeFile("unanchored", await story.pack({}, { checkpoints: [] }));
  const { code, out } = await ask("unanchored", "--since", at(8), "--until", at(20));
  expect(code).toBe(3);
  expect(out).toMatch(/^INTACT: /);
  expect(out).toContain(`unproven  ${at(8)} to ${at(20)}: no head of it is countersigned\n`);
});

test("3: a heartbeat that states a head which the control plane had seen outgrown proves nothing since", async () => {
  let stale: object = {};
  const s = await Story.begin({ heartbeat: (b) => ({ ...b, ...stale }) });
  await s.lifecycle();
  await s.lease();
  await s.act();
  for (let i = 0; i < 3; i++) await pulse(s);
  const { size, root, intentsOpened, intentsHead } = s.chain.head();
  await s.act();
  await s.checkpoint();
  stale = { size, root, intentsOpened, intentsHead };
  s.tick();
  await s.lease();
  s.tick(5 * SECOND);
  await s.beat();
  await writeFile("outgrown", await s.pack());
  expect(await asked("outgrown", "--since", at(8))).toMatchObject({
    code: 3,
    idle: [[7, 17]],
    gaps: [[17, 18, "receipt 3 came between the heads on either side"]],
  });
});

test("2 and 78: what verify refuses is refused, in its words", async () => {
  await terminal.dragons("tamper", "pack", "--receipt", "2", "-o", "bad");
  const broken = await ask("bad");
  expect(broken).toEqual(await terminal.dragons("verify", "bad", "--trust", "trust.json"));
  expect(broken.code).toBe(2);
  const unpinned = await terminal.dragons("evidence", "inactivity", "pack");
  expect(unpinned).toEqual(await terminal.dragons("verify", "pack"));
  expect(unpinned.code).toBe(78);
  await writeFile("fork", "dragons fork 1\nof nothing");
  const fork = await ask("fork");
  expect(fork).toEqual(await terminal.dragons("verify", "fork", "--trust", "trust.json"));
  expect(fork.code).toBe(2);
});

test("64: a time that is none, or that ends before it begins", async () => {
  const none = await ask("pack", "--since", "yesterday");
  expect({ code: none.code, out: none.out }).toEqual({ code: 64, out: "" });
  expect(none.err).toMatch(/^dragons: --since: yesterday is no/);
  const turned = await ask("pack", "--since", at(20), "--until", at(8));
  expect(turned.code).toBe(64);
  expect(turned.err).toBe(`dragons: --until: ${at(8)} is not after --since ${at(20)}\n`);
});

test("the control plane's own ledger in a pack has no agent, and every agent's ledger must be idle", async () => {
  const control = await ControlStory.begin(story);
  await control.checkpoint();
  await writeFile("both", await control.pack());
  const { code, out } = await ask("both", "--since", at(8), "--until", at(20));
  expect(code).toBe(0);
  expect(out).toContain("\nIDLE: 1 of 1 ledger proven ");

  const busy = await Story.begin({ ledgerName: "busy" });
  await busy.lifecycle();
  await busy.lease();
  await busy.checkpoint();
  const ledgers = [story.evidence(), busy.evidence()];
  await writeFile("two", await collect(exportPack(crypto, story.tenantId, ledgers)));
  const two = await ask("two", "--since", at(8), "--until", at(20));
  expect(two.code).toBe(3);
  expect(two.out).toContain("\nUNPROVEN: 1 of 2 ledgers proven ");
});
