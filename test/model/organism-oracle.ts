import { equal } from "../../src/domain/bytes.ts";
import type { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import type { Input } from "../../src/domain/organism.ts";
import { heard, Rhythm, silence } from "../../src/domain/suspicion.ts";
import type { ConditionType } from "../../src/domain/transition.ts";
import { MANIFEST, MINUTE, SECOND, START } from "./organism-histories.ts";

/**
 * The same machine written another way, to be compared with: one mutable record, a list of rules in
 * order, and every number spelled out. It borrows nothing but the arithmetic of silence, which has
 * tests of its own.
 */
export class Oracle {
  state = "DOCKED";
  since = START;
  desired = "RUN";
  /** What stands against it now, and what holds it. */
  wrong = new Set<ConditionType>();
  held = new Set<ConditionType>();
  silencePolicy: string;
  stallQuarantines: boolean;
  rhythm: Rhythm = Rhythm.empty();
  beat: HeartbeatBody | null = null;
  epoch = 0;
  attached = false;
  leaseEnd = 0;
  leaseBegin = 0;
  horizon = 0;
  busy = 0;
  failing = false;
  debt = 0;
  exitAt = 0;
  remedy = "";
  /** What it is for, and how many more there are for that. */
  cures: ConditionType = "UNSPECIFIED";
  doses = 0;
  proofAt = -1;
  mark = 0;
  stopAt = 0;
  released = 0;
  now = START;

  constructor(policy: { silentBeyondLease: string; quarantineStalled: string }) {
    this.silencePolicy = policy.silentBeyondLease;
    this.stallQuarantines = policy.quarantineStalled === "YES";
  }

  /** `nowUs` never falls. Each state that it passes through on this input, `FROM>TO:CAUSE`; or the refusal. */
  take(input: Input, nowUs: number): string[] | string {
    if (this.state === "STOPPED") {
      // Its ledger may still be delivered, and nothing follows from that.
      if (input.kind !== "session" && input.kind !== "beat") return "STOPPED";
      this.now = nowUs;
      const wrong = new Set(this.wrong);
      const refused = this.#absorb(input);
      this.wrong = wrong;
      return refused ?? [];
    }
    this.now = nowUs;
    const confined = this.state === "QUARANTINED" ? [...this.held] : null;
    const refused = this.#absorb(input);
    if (refused !== null) return refused;
    this.#judge(input);
    const path: string[] = [];
    if (confined !== null && this.held.size > 0) {
      const [more] = [...this.held].filter((type) => !confined.includes(type));
      const byOperator = input.kind === "hold" || input.kind === "release";
      if (more !== undefined || input.kind === "release") {
        path.push(`QUARANTINED>QUARANTINED:${byOperator ? "OPERATOR" : "CONDITION"}`);
      }
    }
    for (;;) {
      const rule = RULES.find((r) => r.from.includes(this.state) && r.when(this));
      if (rule === undefined) break;
      path.push(`${this.state}>${rule.to}:${rule.cause(this)}`);
      this.state = rule.to;
      this.since = this.now;
      this.proofAt = -1;
      if (rule.to !== "AUTOHEALING") this.remedy = "";
      this.mark = this.beat?.lastProgressUs ?? 0;
    }
    return path;
  }

  #absorb(input: Input): string | null {
    switch (input.kind) {
      case "beat":
        return this.#hear(input.beat.body);
      case "session":
        if (input.epoch < this.epoch) return "OLD_SESSION";
        this.epoch = input.epoch;
        this.attached = input.attached;
        return null;
      case "lease":
        if (this.now >= this.leaseEnd) this.leaseBegin = this.now;
        this.leaseEnd = input.untilUs;
        this.horizon = Math.max(this.horizon, input.untilUs);
        return null;
      case "policy":
        this.silencePolicy = input.liveness.silentBeyondLease;
        this.stallQuarantines = input.liveness.quarantineStalled === "YES";
        return null;
      case "fault":
        this.held.add(input.type);
        return null;
      case "hold":
        if (input.order.reason.length === 0) return "NO_REASON";
        this.held.add("HELD");
        if (this.desired === "RUN") this.desired = "HOLD";
        return null;
      case "stop":
        if (input.order.reason.length === 0) return "NO_REASON";
        if (this.desired !== "STOP") this.stopAt = this.now;
        this.desired = "STOP";
        return null;
      case "release": {
        if (this.state !== "QUARANTINED") {
          // What a revoked lease took is given back by its own name alone.
          const renews = input.releases.some((t) => t === "LEASE_ZERO");
          if (!renews || !this.wrong.has("LEASE_ZERO")) return "NOT_QUARANTINED";
          if (input.order.reason.length === 0) return "NO_REASON";
          this.released = this.now;
          return null;
        }
        if (input.order.reason.length === 0) return "NO_REASON";
        if (input.releases.some((t) => t === "FORK")) return "FORK_IS_FINAL";
        if (input.releases.length === 0) return "NOT_HELD";
        if (input.releases.some((t) => !this.held.has(t))) return "NOT_HELD";
        for (const type of input.releases) {
          this.held.delete(type);
          if (type === "HELD" && this.desired === "HOLD") this.desired = "RUN";
        }
        if (this.held.size === 0) this.released = this.now;
        return null;
      }
      case "remedy":
        if (input.outcome === "STARTED") return this.#treat(input.condition);
        return this.#remedy(input.outcome);
      case "tick":
        return null;
    }
  }

  #treat(condition: ConditionType): string | null {
    const doses = DOSES.get(condition);
    const still = (this.beat?.wallUs ?? 0) - Math.max(this.busy, this.beat?.lastProgressUs ?? 0);
    const early = condition === "STALLED" && still < 60 * MINUTE;
    const applies = this.state === "DEGRADED" && this.attached && this.#persists(condition);
    if (doses === undefined || early || !applies) return "REMEDY_OUT_OF_TURN";
    [this.remedy, this.cures, this.doses] = ["STARTED", condition, doses];
    return null;
  }

  #remedy(outcome: "SENT" | "SUCCEEDED" | "EXHAUSTED"): string | null {
    const ill = this.#persists(this.cures);
    const turn = {
      SENT: ill && this.doses > 0,
      SUCCEEDED: !this.wrong.has(this.cures),
      EXHAUSTED: ill && this.doses === 0,
    };
    const treated = this.state === "AUTOHEALING" && this.remedy === "STARTED";
    if (!treated || !turn[outcome]) return "REMEDY_OUT_OF_TURN";
    if (outcome === "SENT") {
      this.doses--;
      return null;
    }
    this.proofAt = -1;
    this.remedy = outcome;
    const dangerous = ["DENIAL_STORM", "LEDGER_FAULT"];
    if (this.stallQuarantines) dangerous.push("STALLED", "LOOPING");
    if (outcome === "EXHAUSTED" && dangerous.includes(this.cures)) this.held.add(this.cures);
    return null;
  }

  /** It is known to stand, and has not passed since. */
  #persists(type: ConditionType): boolean {
    if (!this.wrong.has(type)) return false;
    return type !== "DENIAL_STORM" || this.debt - (this.now - this.rhythm.heardUs) / SECOND >= 30;
  }

  #hear(b: HeartbeatBody): string | null {
    const a = this.beat;
    if (a !== null && a.size === b.size && !equal(a.root, b.root)) {
      this.held.add("FORK");
      return null;
    }
    if (b.sessionEpoch < this.epoch) return "OLD_SESSION";
    if (a !== null && a.sessionEpoch === b.sessionEpoch && b.counter <= a.counter)
      return "STALE_BEAT";
    if (a !== null && b.size < a.size) {
      this.held.add("REGRESS");
      return null;
    }
    // What was released just now is said once more by what was on its way.
    const again = a !== null && equal(a.manifestHash, b.manifestHash);
    const crosses = again && this.released > 0 && this.now - this.released < 5 * SECOND;
    if (!equal(b.manifestHash, MANIFEST) && !crosses) this.held.add("DRIFT");
    const sums = (x: HeartbeatBody | null, kind: "completed" | "failed" | "denied") =>
      (x ?? b).scopes.map((s) => s[kind]).reduce((n, m) => n + m, 0);
    const more = (kind: "completed" | "failed" | "denied") =>
      Math.max(0, sums(b, kind) - sums(a, kind));
    this.debt = Math.max(0, this.debt - (this.now - this.rhythm.heardUs) / SECOND);
    this.debt = Math.min(120, this.debt + Math.min(1000, more("denied")) / 5);
    if (more("completed") > 0) this.failing = false;
    else if (more("failed") + more("denied") > 0) this.failing = true;
    const longer = a === null ? 0 : b.suspendedUs - a.suspendedUs;
    const napped = longer < SECOND ? 0 : longer;
    this.rhythm = heard(this.rhythm, {
      receivedUs: this.now,
      declaredUs: b.nextDueUs - b.wallUs,
      sameSession: a?.sessionEpoch === b.sessionEpoch,
      slept: napped > 0,
      missed: Math.max(0, b.counter - (a?.counter ?? b.counter) - 1),
    });
    this.beat = b;
    this.epoch = b.sessionEpoch;
    if (b.child !== "EXITED") this.exitAt = 0;
    else if (this.exitAt === 0) this.exitAt = this.now;
    const trying = this.failing && b.novelty.actions > 0;
    const repeating = b.novelty.repeats >= 20;
    const waiting = b.oldestInFlightUs > 0;
    const working = waiting || b.child === "STOPPED" || trying || repeating;
    if (!working) this.busy = 0;
    else if (this.busy === 0) this.busy = b.wallUs;
    else if (napped > 0) {
      // A standstill is what it was awake for.
      const awake = b.wallUs - Math.max(this.busy, b.lastProgressUs) - napped;
      this.busy = b.wallUs - Math.max(awake, 0);
    }
    this.proofAt = this.now;
    this.wrong.delete("SILENT");
    return null;
  }

  #judge(input: Input): void {
    const b = this.beat;
    const was = (type: ConditionType) => this.wrong.has(type);
    const is = new Set<ConditionType>();
    const set = (type: ConditionType, holds: boolean | undefined) => holds && is.add(type);
    set("SILENT", input.kind === "tick" ? silence(this.rhythm, input.up).silent : was("SILENT"));
    if (b !== null) {
      const standstill = b.wallUs - Math.max(this.busy, b.lastProgressUs);
      const young = b.oldestInFlightUs < 45 * MINUTE && !was("STALLED");
      const charged = standstill - (young ? b.oldestInFlightUs : 0);
      set("STALLED", this.busy > 0 && charged >= 30 * MINUTE);
      const fresh = b.novelty.targets + b.novelty.shapes + b.novelty.outcomes;
      set("LOOPING", fresh === 0 && b.novelty.actions >= (was("LOOPING") ? 1500 : 3000));
      set("LEDGER_FAULT", b.ledgerHealth === "FULL" || b.ledgerHealth === "FAILED");
      set("SYNC_LAG", b.syncLag >= (was("SYNC_LAG") ? 25_000 : 50_000));
      const debt = this.debt - (this.now - this.rhythm.heardUs) / SECOND;
      set("DENIAL_STORM", debt >= (was("DENIAL_STORM") ? 30 : 60));
    }
    const adopted = this.rhythm.heardUs >= this.leaseBegin + 5 * SECOND;
    set("LEASE_ZERO", this.now >= this.leaseEnd || (adopted && (b?.autonomyLeftUs ?? 0) === 0));
    this.wrong = is;
    const moving =
      b === null ||
      b.inFlight === 0 ||
      b.lastProgressUs > this.mark ||
      b.oldestInFlightUs < 45 * MINUTE;
    if (is.size > 0 || (this.#justHeard(input) && !moving)) this.proofAt = -1;
    if (this.state === "DEGRADED" && this.lost && this.silencePolicy === "QUARANTINE")
      this.held.add("SILENT");
  }

  #justHeard(input: Input): boolean {
    return input.kind === "beat" && input.beat.body === this.beat;
  }

  /** Silent, and nothing that it could believe in is left; since the last release, too. */
  get lost(): boolean {
    const over = this.horizon + MINUTE;
    return this.wrong.has("SILENT") && !this.attached && this.now >= over && over >= this.released;
  }
  get exited(): boolean {
    const b = this.beat;
    if (b === null || this.exitAt === 0) return false;
    return (b.syncLag === 0 && b.inFlight === 0) || this.now - this.exitAt >= 30 * SECOND;
  }
  get stopSeen(): boolean {
    if (this.desired !== "STOP") return false;
    const b = this.beat;
    const saysSo =
      b !== null && this.rhythm.heardUs > this.stopAt && b.inFlight === 0 && b.autonomyLeftUs === 0;
    if (saysSo && this.leaseEnd <= this.now) return true;
    const nobody = !this.attached || this.wrong.has("SILENT");
    return nobody && this.now >= this.horizon + 90 * SECOND;
  }
  get recovered(): boolean {
    return this.proofAt >= 0 && this.wrong.size === 0 && this.now - this.since >= SECOND;
  }
}

const LIVE = ["DOCKED", "RUNNING", "DEGRADED", "AUTOHEALING"];
const PROOFS: ConditionType[] = ["FORK", "KEY_MISUSE", "REGRESS", "DRIFT"];

/** How many remedies there are, by what they are for. */
const DOSES = new Map<ConditionType, number>([
  ["STALLED", 2],
  ["LOOPING", 1],
  ["LEASE_ZERO", 2],
  ["LEDGER_FAULT", 2],
  ["SYNC_LAG", 2],
  ["DENIAL_STORM", 1],
]);

interface Rule {
  readonly from: readonly string[];
  readonly to: string;
  readonly cause: (o: Oracle) => string;
  readonly when: (o: Oracle) => boolean;
}
const rule = (
  from: string | readonly string[],
  to: string,
  cause: string | ((o: Oracle) => string),
  when: (o: Oracle) => boolean,
): Rule => ({
  from: typeof from === "string" ? [from] : from,
  to,
  cause: typeof cause === "string" ? () => cause : cause,
  when,
});

/** The first that applies is taken, until none does. */
const RULES: readonly Rule[] = [
  rule(
    "DOCKED",
    "RUNNING",
    "FIRST_BEAT",
    (o) => o.held.size === 0 && (o.beat?.leaseRef.length ?? 0) > 0 && o.now < o.leaseEnd,
  ),
  rule([...LIVE, "QUARANTINED"], "STOPPED", "OPERATOR", (o) => o.desired === "STOP" && o.exited),
  rule([...LIVE, "QUARANTINED"], "STOPPED", "FINISHED", (o) => o.exited && o.beat?.childExit === 1),
  rule([...LIVE, "QUARANTINED"], "STOPPED", "FAILED", (o) => o.exited),
  rule([...LIVE, "QUARANTINED"], "STOPPED", "OPERATOR", (o) => o.stopSeen),
  rule(LIVE, "QUARANTINED", "CONDITION", (o) => PROOFS.some((t) => o.held.has(t))),
  rule(LIVE, "QUARANTINED", "OPERATOR", (o) => o.held.has("HELD")),
  rule("AUTOHEALING", "QUARANTINED", "REMEDIES_SPENT", (o) => o.held.size > 0),
  rule("DEGRADED", "QUARANTINED", "UNCONFIRMED", (o) => o.held.size > 0),
  rule("QUARANTINED", "DEGRADED", "OPERATOR", (o) => o.held.size === 0),
  rule("RUNNING", "DEGRADED", "CONDITION", (o) => o.wrong.size > 0),
  rule("DEGRADED", "AUTOHEALING", "REMEDY_STARTED", (o) => o.remedy === "STARTED"),
  rule("DEGRADED", "STOPPED", "UNCONFIRMED", (o) => o.lost && o.silencePolicy === "STOP"),
  rule("DEGRADED", "RUNNING", "CONDITIONS_CLEARED", (o) => o.recovered),
  rule("AUTOHEALING", "DEGRADED", "REMEDIES_SPENT", (o) => o.remedy === "EXHAUSTED"),
  rule("AUTOHEALING", "DEGRADED", "CONDITION", (o) => o.remedy === "SUCCEEDED" && o.wrong.size > 0),
  rule("AUTOHEALING", "RUNNING", "RECOVERED", (o) => o.remedy === "SUCCEEDED" && o.recovered),
];
