import { describe, expect, test } from "vitest";
import { policyOf } from "../domain/conditions.ts";
import { LivenessPolicy } from "../domain/grant.ts";
import { HeartbeatBody } from "../domain/heartbeat.ts";
import { remediesFor, unsafeToLeave } from "../domain/intake.ts";
import { born, type Input, type OrganismView } from "../domain/organism.ts";
import { CONDITION_TYPES, type ConditionType } from "../domain/transition.ts";
import { Arena } from "./arena.ts";
import type { Organisms } from "./organisms.ts";
import { PackedViews } from "./packed-view.ts";
import { Remedies } from "./remedies.ts";
import type { Tenant } from "./tenant.ts";

const SECOND = 1_000_000;
const MINUTE = 60 * SECOND;
const NONE = new Uint8Array(0);

/** One organism with something wrong that lasts, for ever unless it is healed; and what is tried. */
class Sick {
  view: OrganismView;
  nowUs = 0;
  /** `second what`, in order. */
  readonly said: string[] = [];
  remedies: Remedies;
  readonly #views = new PackedViews(new Arena(), 1);
  readonly #organisms: Organisms;
  readonly #lease: { readonly revokedEpoch: number };

  constructor(condition: ConditionType, lease = { revokedEpoch: 0 }) {
    this.#lease = lease;
    const view = born(NONE, LivenessPolicy.empty(), 0);
    this.view = {
      ...view,
      state: "DEGRADED",
      conditions: [{ type: condition, sinceUs: 0, artifact: NONE }],
      facts: {
        ...view.facts,
        attached: true,
        // Work has stood still for as long as a stall is waited out.
        busySinceUs: 1,
        beat: { ...HeartbeatBody.empty(), wallUs: 1 + 60 * MINUTE },
      },
    };
    this.#organisms = {
      all: () => [{ instanceId: "one", view: this.#views.add(this.view) }].values(),
      view: () => this.view,
      input: (_: string, input: Input) => this.#take(input as Input & { kind: "remedy" }),
      sendRemedy: async () => {
        const { treated, directives } = this.view;
        this.#say(remediesFor(treated)[directives.length] ?? "nothing");
        this.view = { ...this.view, directives: [...directives, new Uint8Array(32)] };
        return `dir_${this.said.length}`;
      },
    } as unknown as Organisms;
    this.remedies = this.restarted();
  }

  /** A control plane that has just begun remembers no course. */
  restarted(): Remedies {
    const tenant = { instance: () => ({ lease: this.#lease }) };
    return new Remedies(tenant as unknown as Tenant, this.#organisms);
  }

  #take(input: Input & { kind: "remedy" }) {
    const { outcome } = input;
    this.#say(outcome);
    if (outcome === "STARTED") {
      const treated = input.condition;
      this.view = { ...this.view, state: "AUTOHEALING", remedy: outcome, treated, directives: [] };
    } else if (outcome === "SUCCEEDED") this.view = { ...this.view, remedy: outcome };
    else this.view = { ...this.view, state: "DEGRADED", remedy: "UNSPECIFIED" };
    return { refused: null };
  }

  #say(what: string): void {
    this.said.push(`${this.nowUs / SECOND} ${what}`);
  }

  /** Time passes, looked at once a second. */
  async pass(us: number): Promise<void> {
    for (const untilUs = this.nowUs + us; this.nowUs < untilUs; ) {
      this.nowUs += SECOND;
      this.remedies.tick(this.nowUs);
      await Promise.resolve();
    }
  }

  /** The next beat tells what became of a directive. */
  answer(directiveId: string, outcome: "DONE" | "IGNORED"): void {
    const beat = {
      ...this.view.facts.beat,
      directiveResults: [{ directiveId, outcome, detail: "" }],
    };
    this.view = { ...this.view, facts: { ...this.view.facts, beat } };
  }
}

describe("the course of remedies", () => {
  test("begins when a condition has lasted for half a minute, the mildest first, a minute each", async () => {
    const sick = new Sick("SYNC_LAG");
    await sick.pass(3 * MINUTE);
    const course = ["30 STARTED", "30 RESYNC", "90 REATTACH", "150 EXHAUSTED"];
    expect(sick.said).toEqual(course);
  });

  test("begins again after 5 minutes, 10, 20, 40, and then once an hour, for as long as it lasts", async () => {
    const sick = new Sick("SYNC_LAG");
    await sick.pass(5 * 60 * MINUTE);
    const at = (what: string) =>
      sick.said.filter((s) => s.endsWith(what)).map((s) => Number(s.split(" ")[0]) / 60);
    const [begun, spent] = [at("STARTED"), at("EXHAUSTED")];
    const waited = begun.slice(1).map((from, n) => from - (spent[n] ?? 0));
    expect(waited).toEqual([5, 10, 20, 40, 60, 60, 60]);
  });

  test("does not wait for who answers that it did not do it", async () => {
    const sick = new Sick("LOOPING");
    await sick.pass(32 * SECOND);
    sick.answer("dir_2", "IGNORED");
    await sick.pass(SECOND);
    expect(sick.said).toEqual(["30 STARTED", "30 RESTART_AGENT", "33 EXHAUSTED"]);
  });

  test("waits for who did it, and ends well when nothing is wrong any more", async () => {
    const sick = new Sick("LOOPING");
    await sick.pass(32 * SECOND);
    sick.answer("dir_2", "DONE");
    await sick.pass(20 * SECOND);
    sick.view = { ...sick.view, conditions: [] };
    await sick.pass(SECOND);
    expect(sick.said.slice(2)).toEqual(["53 SUCCEEDED"]);
  });

  test("does not begin without a sidecar to take it, or for what has no remedy", async () => {
    const silent = new Sick("SILENT");
    await silent.pass(10 * MINUTE);
    const alone = new Sick("SYNC_LAG");
    alone.view = { ...alone.view, facts: { ...alone.view.facts, attached: false } };
    await alone.pass(10 * MINUTE);
    expect([...silent.said, ...alone.said]).toEqual([]);
  });

  test("that a control plane finds under way when it begins gets its time, and goes on with the next", async () => {
    const sick = new Sick("SYNC_LAG");
    await sick.pass(40 * SECOND);
    sick.remedies = sick.restarted();
    await sick.pass(3 * MINUTE);
    expect(sick.said.slice(2)).toEqual(["101 REATTACH", "161 EXHAUSTED"]);
  });
});

/** What is tried, mildest first; and whether it is quarantined when that is used up. */
type Row = readonly [remedies: readonly string[], unsafe: "never" | "always" | "as granted"];
const LADDER: Readonly<Record<Exclude<ConditionType, "UNSPECIFIED">, Row>> = {
  SILENT: [[], "never"],
  STALLED: [["RESTART_AGENT", "REATTACH"], "as granted"],
  LOOPING: [["RESTART_AGENT"], "as granted"],
  LEASE_ZERO: [["RESYNC", "REATTACH"], "never"],
  LEDGER_FAULT: [["RESYNC", "REATTACH"], "always"],
  SYNC_LAG: [["RESYNC", "REATTACH"], "never"],
  DENIAL_STORM: [["RESTART_AGENT"], "always"],
  // Quarantined at once: nothing is tried.
  DRIFT: [[], "never"],
  FORK: [[], "never"],
  REGRESS: [[], "never"],
  KEY_MISUSE: [[], "never"],
  HELD: [[], "never"],
};

describe("of the ladder that docs/liveness.md tells of", () => {
  test("there is a row for every condition", () => {
    expect(["UNSPECIFIED", ...Object.keys(LADDER)]).toEqual(CONDITION_TYPES);
  });

  test.each(Object.entries(LADDER))("%s: %j", async (condition, [remedies, unsafe]) => {
    const type = condition as ConditionType;
    const sick = new Sick(type);
    // Shorter than the wait for the next course.
    await sick.pass(5 * MINUTE);
    // How long a stall is waited out is the grant's to say, and it has been.
    const fromS = type === "STALLED" ? 1 : 30;
    const tried = remedies.map((remedy, n) => `${fromS + 60 * n} ${remedy}`);
    const course = [`${fromS} STARTED`, ...tried, `${fromS + 60 * remedies.length} EXHAUSTED`];
    expect(sick.said).toEqual(remedies.length === 0 ? [] : course);

    const granted = (quarantineStalled: "NO" | "YES") =>
      unsafeToLeave(type, policyOf({ ...LivenessPolicy.empty(), quarantineStalled }));
    const quarantined = {
      never: [false, false],
      always: [true, true],
      "as granted": [false, true],
    };
    expect([granted("NO"), granted("YES")]).toEqual(quarantined[unsafe]);
  });

  test("no lease that was revoked is asked for again: an operator took it", async () => {
    const sick = new Sick("LEASE_ZERO", { revokedEpoch: 1 });
    await sick.pass(5 * MINUTE);
    expect(sick.said).toEqual([]);
  });
});
