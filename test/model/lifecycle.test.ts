import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex } from "../../src/domain/bytes.ts";
import { LivenessPolicy } from "../../src/domain/grant.ts";
import { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import {
  type Agreement,
  type History,
  type HistoryEvidence,
  retrace,
} from "../../src/domain/history.ts";
import { restsUntilUs, step } from "../../src/domain/lifecycle.ts";
import {
  born,
  conditionsOf,
  holdsAuthority,
  mayBeLeased,
  OrganismView,
} from "../../src/domain/organism.ts";
import {
  CAUSES,
  type Cause,
  type Condition,
  checkTransition,
  MOVES,
  STATES,
  type State,
  TransitionBody,
} from "../../src/domain/transition.ts";
import { lacks } from "../skips.ts";
import { python } from "../verifier/second.ts";
import { MANIFEST, MINUTE, order, recorded, SECOND, START, World } from "./organism-histories.ts";
import { Oracle } from "./organism-oracle.ts";

const RUNS = Number(process.env.LIFECYCLE_RUNS ?? 10_000);
/** Against the model, ten times as many. */
const MODEL_RUNS = Number(process.env.LIFECYCLE_RUNS ?? 100_000);
/** Without bias to the small and short: deep states are reached by long lives. */
const life = fc.noBias(fc.array(fc.nat(), { maxLength: 60, size: "max" }));
const policy = fc.nat(5);

describe("over random histories", () => {
  test(`the machine does what its model does, and nothing illegal (${MODEL_RUNS} histories)`, () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(policy, life, (word, words) => {
        const world = new World(word);
        const oracle = new Oracle(world.liveness);
        for (const w of words) {
          const before = world.view;
          const { view, transitions, refused } = world.live(w);
          const { input, nowUs } = world.moments.at(-1) as (typeof world.moments)[number];
          const listenedUs = input.kind === "tick" ? (input.up.at(-1)?.untilUs ?? 0) : 0;
          const seenUs = Math.max(before.latestUs, listenedUs);
          const path = transitions.map((t) => `${t.from}>${t.to}:${t.cause}`);
          // Against the model, which is written without the machine's functions.
          const taken = oracle.take(input, Math.max(nowUs, seenUs));
          same(refused ?? path.join(), taken.toString(), input.kind);
          same(view.state, oracle.state, "state");
          same(view.desired, oracle.desired, "desired");
          sameTypes(view.conditions, oracle.wrong, "conditions");
          sameTypes(view.holds, oracle.held, "holds");
          // What holds of every step, whatever the model says.
          if (refused !== null && view !== before) throw new Error("a refusal changed something");
          if (before.state === "STOPPED" && (view.state !== "STOPPED" || transitions.length > 0))
            throw new Error("stopped is not final");
          if (
            before.holds.some((c) => c.type === "FORK") &&
            !view.holds.some((c) => c.type === "FORK")
          ) {
            throw new Error("a fork was released");
          }
          if (view.latestUs < before.latestUs || view.sinceUs < before.sinceUs) {
            throw new Error("time went backward");
          }
          if (view.conditions !== before.conditions || view.holds !== before.holds) {
            const known = conditionsOf(before);
            for (const c of conditionsOf(view)) {
              const old = known.find((o) => o.type === c.type);
              if (c.sinceUs > view.latestUs || (old !== undefined && c.sinceUs < old.sinceUs)) {
                throw new Error(`${c.type}.sinceUs went backward`);
              }
            }
          }
          let from = before.state;
          for (const t of transitions) {
            seen.add(`${t.from}>${t.to}:${t.cause}`);
            same(t.from, from, "from");
            from = t.to;
            const problem = checkTransition(recorded(t));
            if (problem !== null) throw new Error(problem.detail);
            TransitionBody.encode(recorded(t));
          }
        }
      }),
      { numRuns: MODEL_RUNS },
    );
    // The histories go everywhere: in ten thousand of them every move of the table was made, for every cause that it names.
    const every = STATES.flatMap((from) =>
      Object.entries(MOVES[from]).flatMap(([to, causes]) =>
        causes.map((c) => `${from}>${to}:${c}`),
      ),
    );
    if (MODEL_RUNS >= 10_000) expect([...seen].sort()).toEqual(every.sort());
  }, 600_000);

  test("until it is said to rest, a look at the clock changes nothing", () => {
    const rested = new Set<State>();
    fc.assert(
      fc.property(policy, life, fc.nat(999), (word, words, share) => {
        const world = new World(word);
        for (const w of words) {
          world.live(w);
          const { view } = world;
          // What was listened to until then stays so, wherever the clock was set since.
          const nowUs = Math.max(world.moments.at(-1)?.nowUs ?? 0, view.latestUs);
          // Some rest for good.
          const within = (listens: boolean): number =>
            Math.min(restsUntilUs(view, listens) - nowUs, 100_000 * MINUTE);
          if (within(true) <= 0) continue;
          rested.add(view.state);
          for (const listens of [true, false]) {
            const atUs = nowUs + Math.floor((within(listens) * share) / 1000);
            // Whoever listened all along knows most.
            const up = [{ fromUs: START, untilUs: listens ? atUs : nowUs }];
            if (step(view, { kind: "tick", up }, atUs).view !== view)
              throw new Error("it did not rest");
          }
        }
      }),
      { numRuns: Math.ceil(RUNS / 5) },
    );
    expect([...rested].sort()).toEqual(["DEGRADED", "RUNNING"]);
  }, 600_000);

  test("the same inputs give the same transitions, across restarts too", () => {
    fc.assert(
      fc.property(policy, life, (word, words) => {
        const world = new World(word);
        const first = words.flatMap((w) => world.live(w).transitions);
        let view = born(MANIFEST, world.liveness, START);
        const again = world.moments.flatMap(({ input, nowUs }) => {
          const result = step(OrganismView.decode(OrganismView.encode(view)), input, nowUs);
          view = result.view;
          return result.transitions;
        });
        expect(again).toEqual(first);
        expect(toHex(OrganismView.encode(view))).toBe(toHex(OrganismView.encode(world.view)));
      }),
      { numRuns: Math.ceil(RUNS / 20) },
    );
  }, 600_000);

  test("what was recorded follows from what it cites, whoever decides it again", () => {
    fc.assert(
      fc.property(policy, life, (word, words) => {
        const { transitions, evidence } = lived(word, words);
        const { agreement, state, whole } = retraced(evidence, ["AGREES"]);
        expect({ agreement, whole }).toEqual({ agreement: "AGREES", whole: true });
        expect(state).toBe(transitions.at(-1)?.to ?? "DOCKED");
      }),
      { numRuns: Math.ceil(RUNS / 20) },
    );
  }, 600_000);

  test("however late it begins, and whatever beats are lost, what was recorded never differs", () => {
    fc.assert(
      fc.property(policy, life, fc.nat(), (word, words, lost) => {
        const { transitions, evidence } = lived(word, words);
        const cited = transitions.map((t) => toHex(t.basis.beat));
        const beat: typeof evidence.beat = (ref) =>
          cited[lost % cited.length] === toHex(ref) ? null : evidence.beat(ref);
        for (let from = 0; from < transitions.length; from++) {
          const late = { ...evidence, transitions: transitions.slice(from) };
          retraced(late, ["AGREES"]);
          retraced({ ...late, beat }, ["AGREES", "UNSHOWN"]);
        }
      }),
      { numRuns: Math.ceil(RUNS / 20) },
    );
  }, 600_000);

  test("nor does what its successors made of it, by whatever grant: all of it, or what is of one ledger", () => {
    fc.assert(
      fc.property(policy, life, (word, words) => {
        const { whole, sections } = succeeded(word, words);
        for (const evidence of [whole, ...sections.map((s) => s.evidence)]) {
          retraced(evidence, ["AGREES"]);
        }
      }),
      { numRuns: Math.ceil(RUNS / 10) },
    );
  }, 600_000);

  test("a history that was made up differs from what it cites", () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(policy, life, fc.nat(), (word, words, where) => {
        const { transitions, evidence } = lived(word, words);
        for (const { name, about, told } of liesIn(transitions, where)) {
          // What is left out at the end was never said; nobody can tell that from the rest.
          if (told.length < transitions.length && about === transitions.at(-1)) continue;
          const { agreement, whole } = retrace({ ...evidence, transitions: told });
          const isTold =
            agreement === "DIFFERS" || (name === NOT_AT_HAND && agreement === "UNSHOWN");
          if (whole && !isTold) throw new Error(`${name} passed: ${show(about)}`);
          seen.add(name);
        }
      }),
      { numRuns: Math.ceil(RUNS / 10) },
    );
    if (RUNS >= 10_000) expect([...seen].sort()).toEqual(LIES.toSorted());
  }, 600_000);

  test("whatever came before, an operator's stop ends it", () => {
    fc.assert(
      fc.property(policy, life, (word, words) => {
        const world = new World(word);
        for (const w of words) world.live(w);
        world.take({ kind: "stop", order: order() });
        world.take({ kind: "session", epoch: Number.MAX_SAFE_INTEGER, attached: false });
        world.pass(3 * 3600 * SECOND);
        world.take({ kind: "tick", up: world.up });
        expect(world.view.state).toBe("STOPPED");
        expect(holdsAuthority(world.view, world.nowUs)).toBe(false);
      }),
      { numRuns: Math.ceil(RUNS / 10) },
    );
  }, 600_000);

  test("whatever came before, but for a fork or a stop, release and good beats lead back to running", () => {
    fc.assert(
      fc.property(policy, life, (word, words) => {
        const world = new World(word);
        for (const w of words) world.live(w);
        fc.pre(world.view.state !== "STOPPED" && world.view.desired !== "STOP");
        fc.pre(!world.view.holds.some((c) => c.type === "FORK"));
        fc.pre(world.view.facts.exitedUs === 0);
        // An hour of idleness, past every clock that was ever set forward.
        world.pass(2 * 3600 * SECOND);
        const releases = world.view.holds.map((c) => c.type);
        if (releases.length > 0) world.take({ kind: "release", releases, order: order() });
        world.take(world.attach());
        for (let i = 0; i < 4; i++) {
          world.take(world.lease());
          world.pass(SECOND);
          world.take(world.beat({ inFlight: 0, oldestInFlightUs: 0, novelty: NO_NOVELTY }));
          if (world.view.state === "AUTOHEALING" && world.view.remedy === "STARTED") {
            const { refused } = world.take({ kind: "remedy", outcome: "SUCCEEDED" });
            expect(refused).toBe(null);
          }
        }
        expect(world.view.state).toBe("RUNNING");
        expect(mayBeLeased(world.view)).toBe(true);
      }),
      { numRuns: Math.ceil(RUNS / 10) },
    );
  }, 600_000);

  test("silence alone never quarantines, unless the grant says so", () => {
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.array(fc.nat(), { maxLength: 60, size: "max" }),
        (stop, words) => {
          const world = new World(stop ? 1 : 0);
          for (const w of words) {
            world.pass([SECOND, SECOND, 5 * SECOND, 20 * MINUTE][w % 4] as number, w % 5 !== 0);
            const session = { kind: "session", epoch: 1, attached: w % 3 === 0 } as const;
            const input = [
              world.beat(),
              { kind: "tick", up: world.up } as const,
              world.lease(),
              session,
            ][(w >> 4) % 4];
            const { transitions } = world.take(input as NonNullable<typeof input>);
            expect(transitions.map((t) => t.to)).not.toContain("QUARANTINED");
          }
        },
      ),
      { numRuns: Math.ceil(RUNS / 10) },
    );
  }, 600_000);
});

test.skipIf(lacks("python3"))(
  "who reads docs/formats.md alone decides the same, of what was recorded and of what was made up",
  () => {
    const lies = new Set<string>();
    const histories = fc
      .sample(fc.tuple(policy, life, fc.nat()), { numRuns: 200, seed: 8 })
      .flatMap(([word, words, where]) => {
        const { transitions, evidence, beats } = lived(word, words);
        // What is not even well formed is no pack's to show.
        const madeUp = liesIn(transitions, where).filter(({ told }) =>
          told.every((t) => checkTransition(t) === null),
        );
        for (const { name } of madeUp) lies.add(name);
        const all = [transitions, ...madeUp.map(({ told }) => told)];
        return all.map((said) => ({ said, evidence, beats }));
      });
    const later = releasedLater();
    histories.push({ ...later, said: later.transitions });
    for (const [word, words] of fc.sample(fc.tuple(policy, life), { numRuns: 200, seed: 9 })) {
      const { sections } = succeeded(word, words);
      histories.push(...sections.map((s) => ({ ...s, said: s.evidence.transitions })));
    }
    expect(lies).toContain(OVER);
    const lines = histories.map(({ said, evidence, beats }) =>
      JSON.stringify({
        transitions: said.map((t) => toHex(TransitionBody.encode(t))),
        beats: [...beats].map(([ref, beat]) => [ref, toHex(HeartbeatBody.encode(beat))]),
        manifest: toHex(MANIFEST),
        liveness: toHex(LivenessPolicy.encode(evidence.origin().liveness)),
      }),
    );
    const { stdout, stderr } = python(["-m", "tests.retrace"], `${lines.join("\n")}\n`);
    expect(stderr).toBe("");
    const theirs = stdout.split("\n").slice(0, -1);
    const ours = histories.map(({ said, evidence }) =>
      retrace({ ...evidence, transitions: said }).moments.map((m) => m.agreement),
    );
    expect(theirs).toHaveLength(ours.length);
    expect(new Set(ours.flat())).toEqual(new Set(["AGREES", "DIFFERS", "UNSHOWN"]));
    ours.forEach((words, n) => {
      same(theirs[n]?.split(" "), words.length === 0 ? [""] : words, `history ${n}`);
    });
  },
  120_000,
);

test("a history that begins within a quarantine agrees, whatever it was put there for and is over", () => {
  const { evidence } = releasedLater();
  expect(retrace(evidence)).toMatchObject({ agreement: "AGREES", whole: false });
});

test("every cause leads somewhere", () => {
  const used = new Set(STATES.flatMap((s) => Object.values(MOVES[s]).flat()));
  expect(CAUSES.filter((c) => c !== "UNSPECIFIED" && !used.has(c))).toEqual([]);
});

/** A history that was decided again, of which each moment is one of these. */
function retraced(evidence: HistoryEvidence, allowed: readonly Agreement[]): History {
  const history = retrace(evidence);
  const odd = history.moments.find((m) => !allowed.includes(m.agreement));
  if (odd !== undefined) throw new Error(`${odd.why}: ${show(odd.transition)}`);
  return history;
}

/** A life as the tenant ledger has it: up to where other thresholds take effect, as a successor brings. */
function lived(word: number, words: readonly number[]) {
  const world = new World(word);
  const transitions: TransitionBody[] = [];
  for (const w of words) {
    const made = world.live(w);
    if (world.moments.at(-1)?.input.kind === "policy") break;
    transitions.push(...made.transitions.map(recorded));
  }
  return shownBy(world, transitions);
}

/** A whole life, in which each change of thresholds is a successor's. */
function succeeded(word: number, words: readonly number[]) {
  const world = new World(word);
  const grants = [world.liveness];
  const transitions: TransitionBody[] = [];
  for (const w of words) {
    const made = world.live(w);
    const { input } = world.moments.at(-1) as (typeof world.moments)[number];
    if (input.kind === "policy" && made.refused === null) grants.push(input.liveness);
    const ledgerId = new Uint8Array(32).fill(grants.length);
    transitions.push(...made.transitions.map((t) => ({ ...recorded(t), ledgerId })));
  }
  const { evidence, beats } = shownBy(world, transitions);
  const under = (liveness = world.liveness) => ({ manifestHash: MANIFEST, liveness });
  const whole = { ...evidence, origin: ([n = 1]: Uint8Array) => under(grants[n - 1]) };
  /** What is of one ledger, as a pack shows it. */
  const sections = grants.map((liveness, n) => ({
    evidence: {
      ...evidence,
      transitions: transitions.filter((t) => t.ledgerId[0] === n + 1),
      origin: () => under(liveness),
    },
    beats,
  }));
  return { whole, sections };
}

/** What a life left, with the beats that it was told by. */
function shownBy(world: World, transitions: TransitionBody[]) {
  const beats = new Map(
    world.moments.flatMap(({ input }) => {
      if (input.kind === "beat") return [[toHex(input.beat.ref), input.beat.body] as const];
      // What shows drift is a beat that measured something else.
      return input.kind === "fault" && input.type === "DRIFT"
        ? [[toHex(input.artifact), HeartbeatBody.empty()] as const]
        : [];
    }),
  );
  const origin = { manifestHash: MANIFEST, liveness: world.liveness };
  const evidence = {
    transitions,
    beat: (ref: Uint8Array) => beats.get(toHex(ref)) ?? null,
    origin: () => origin,
  };
  return { transitions, evidence, beats };
}

/** Quarantined for a fault that no remedy cured and that is over now, and released: of all that, the release. */
function releasedLater() {
  const world = new World(0);
  const remedy = { kind: "remedy" } as const;
  world.take(world.attach());
  world.take(world.lease());
  world.take(world.beat());
  world.take(world.beat({ ledgerHealth: "FULL" }));
  world.take({ ...remedy, outcome: "STARTED", condition: "LEDGER_FAULT" });
  world.take({ ...remedy, outcome: "SENT", directive: world.ref() });
  world.take({ ...remedy, outcome: "SENT", directive: world.ref() });
  world.take({ ...remedy, outcome: "EXHAUSTED" });
  world.take(world.beat());
  const release = { kind: "release", releases: ["LEDGER_FAULT"], order: order() } as const;
  return shownBy(world, world.take(release).transitions.map(recorded));
}

/** A lie of each kind that can be told of these, about one of them. */
const liesIn = (transitions: readonly TransitionBody[], where: number) => {
  const lies = transitions.flatMap((about) => liesAbout(about).map((lie) => ({ ...lie, about })));
  return LIES.flatMap((name) => {
    const some = lies.filter((lie) => lie.name === name && lie.tellable);
    const lie = some[where % some.length];
    if (lie === undefined) return [];
    const { about, instead } = lie;
    return [{ name, about, told: transitions.flatMap((t) => (t === about ? instead : [t])) }];
  });
};

const NOT_AT_HAND = "another beat";
const OVER = "a quarantine for what was over";

/** Other things that might have been said in a transition's place, where they say something else. */
function liesAbout(t: TransitionBody) {
  const { basis } = t;
  const fault = { type: "LEDGER_FAULT", sinceUs: t.atUs, artifact: MANIFEST } as const;
  const instead = (name: string, other: Partial<TransitionBody>, tellable = true) => ({
    name,
    tellable,
    instead: [{ ...t, ...other }],
  });
  const reached = Object.keys(MOVES[t.from]) as State[];
  const elsewhere = reached.find((to) => to !== t.to) ?? "STOPPED";
  const [cause] = (MOVES[t.from][elsewhere] ?? ["OPERATOR"]) as readonly Cause[];
  const passing = t.conditions.some((c) => !basis.holds.some((h) => h.type === c.type));
  return [
    { name: "silence about it", tellable: t.from !== t.to, instead: [] },
    instead("another end", { to: elsewhere, cause: cause ?? "OPERATOR" }),
    instead("conditions left out", { conditions: [] }, t.conditions.length > 0),
    instead("a lower threshold", { thresholdUs: t.thresholdUs - 1 }, t.thresholdUs > 0),
    instead("an observer of the future", {
      observerUp: [{ fromUs: t.atUs, untilUs: t.atUs + 1 }],
    }),
    instead(NOT_AT_HAND, { basis: { ...basis, beat: MANIFEST.map((b) => b ^ 1) } }),
    instead("no holds", { basis: { ...basis, holds: [] } }, t.to === "QUARANTINED"),
    instead("a proof", { basis: { ...basis, proven: 1 } }, passing),
    instead(
      "no proof",
      { basis: { ...basis, proven: 0 } },
      t.to === "RUNNING" && t.from !== "DOCKED",
    ),
    instead("an exit", { basis: { ...basis, exitedUs: t.atUs } }, basis.exitedUs === 0),
    instead("idleness", { basis: { ...basis, busySinceUs: 0 } }, basis.busySinceUs > 0),
    instead("an earlier time", { atUs: START - 1 }, t.lastBeatUs > 0),
    instead(
      "a remedy for something else",
      { basis: { ...basis, treated: basis.treated === "LOOPING" ? "SYNC_LAG" : "LOOPING" } },
      t.from === "AUTOHEALING" || t.to === "AUTOHEALING",
    ),
    instead(
      "remedies that were never sent",
      { basis: { ...basis, directives: basis.directives.slice(1) } },
      t.from === "AUTOHEALING" && basis.remedy === "EXHAUSTED",
    ),
    instead(
      "a remedy too many",
      { basis: { ...basis, directives: [...basis.directives, MANIFEST, MANIFEST, MANIFEST] } },
      t.from === "AUTOHEALING",
    ),
    instead(
      OVER,
      {
        to: "QUARANTINED",
        condition: fault.type,
        conditions: conditionsOf({
          ...OrganismView.empty(),
          conditions: t.conditions,
          holds: [fault],
        }),
        basis: { ...basis, holds: [fault] },
      },
      t.cause === "REMEDIES_SPENT" && !basis.before.some((c) => c.type === fault.type),
    ),
    instead(
      "remedies used up where none were tried",
      {
        conditions: conditionsOf({
          ...OrganismView.empty(),
          conditions: t.conditions,
          holds: [fault],
        }),
        basis: {
          ...basis,
          remedy: "EXHAUSTED",
          treated: fault.type,
          holds: [...basis.holds, fault],
        },
      },
      t.to === "QUARANTINED" &&
        t.cause === "OPERATOR" &&
        !t.conditions.some((c) => c.type === fault.type),
    ),
    instead(
      "a remedy for what its beat denies",
      {
        condition: fault.type,
        basis: { ...basis, treated: fault.type, before: [...basis.before, fault] },
      },
      t.to === "AUTOHEALING" && !t.conditions.some((c) => c.type === fault.type),
    ),
    instead(
      "remedies used up for what its beat denies",
      {
        to: "DEGRADED",
        cause: "REMEDIES_SPENT",
        condition: basis.treated,
        basis: {
          ...basis,
          remedy: "EXHAUSTED",
          proven: 0,
          directives: [MANIFEST, MANIFEST],
          before: [...basis.before, { ...fault, type: basis.treated }],
        },
      },
      basis.remedy === "SUCCEEDED" && ["SYNC_LAG", "LEASE_ZERO"].includes(basis.treated),
    ),
  ];
}
const LIES = liesAbout(TransitionBody.empty()).map((lie) => lie.name);
const show = ({ from, to, cause, condition, basis }: TransitionBody): string =>
  `${from} to ${to} by ${cause} ${condition}, on ${basis.input}`;

const NO_NOVELTY = { targets: 0, shapes: 0, outcomes: 0, actions: 0, repeats: 0 };

/** Each type once, in whatever order. */
function sameTypes(actual: readonly Condition[], expected: ReadonlySet<string>, what: string) {
  if (actual.length === expected.size && actual.every((c) => expected.has(c.type))) return;
  same(
    actual.map((c) => c.type),
    [...expected],
    what,
  );
}

/** Cheaper than `expect`, which this would call millions of times. */
function same(actual: unknown, expected: unknown, what: string): void {
  if (actual === expected) return;
  if (JSON.stringify(actual) !== JSON.stringify(expected)) {
    throw new Error(
      `${what}: ${JSON.stringify(actual)}, and the model says ${JSON.stringify(expected)}`,
    );
  }
}
