import { LivenessPolicy } from "../../src/domain/grant.ts";
import { HeartbeatBody } from "../../src/domain/heartbeat.ts";
import { step } from "../../src/domain/lifecycle.ts";
import { born, type Input, type OrganismView } from "../../src/domain/organism.ts";
import {
  CONDITION_TYPES,
  type Interval,
  type TransitionBody,
} from "../../src/domain/transition.ts";

/**
 * Random lives of an organism. Each moment is told by one number, so that a failing life shrinks to
 * few and small ones: 0 is a good beat, a second after the last.
 */
export const SECOND = 1_000_000;
export const MINUTE = 60 * SECOND;
export const START = 1_790_000_000 * SECOND;
/** The sidecar's clock is ahead of ours: nothing may compare the two. */
const AHEAD = 7 * SECOND;
const NOTHING = new Uint8Array(0);

const fill = (n: number): Uint8Array => new Uint8Array(32).fill(n % 256);
export const MANIFEST = fill(0xaa);
export const order = (reason = "because") => ({ actor: fill(0xee), reason, artifact: fill(0xed) });

const NOTHING_NEW = { targets: 0, shapes: 0, outcomes: 0, actions: 0, repeats: 0 };

export interface Moment {
  readonly nowUs: number;
  readonly input: Input;
}

/** Takes digits off a number: `pick(n)` is uniform below n. */
const dice = (word: number) => {
  let rest = word;
  return (n: number): number => {
    const digit = rest % n;
    rest = Math.floor(rest / n);
    return digit;
  };
};

const STEPS_US = [1, 1, 1, 1, 1, 1, 1, 1, 0, 0.5, 3, 10, 70, 31 * 60, 61 * 60, -5];

/** A sidecar and a control plane as far as the machine hears of them. */
export class World {
  view: OrganismView;
  nowUs = START;
  up: Interval[] = [{ fromUs: START, untilUs: START }];
  readonly moments: Moment[] = [];
  readonly liveness: LivenessPolicy;
  #refs = 0;
  #body: HeartbeatBody = {
    ...HeartbeatBody.empty(),
    version: 1,
    ledgerId: fill(0xbb),
    sessionEpoch: 1,
    wallUs: START + AHEAD,
    child: "RUNNING",
    root: fill(1),
    intentsHead: fill(2),
    manifestHash: MANIFEST,
    ledgerHealth: "OK",
  };
  #callSinceUs = 0;

  constructor(word: number) {
    this.liveness = liveness(word);
    this.view = born(MANIFEST, this.liveness, START);
  }

  /** Has the machine take an input now, and remembers it. */
  take(input: Input) {
    this.moments.push({ nowUs: this.nowUs, input });
    const result = step(this.view, input, this.nowUs);
    this.view = result.view;
    return result;
  }

  /** Lets time pass. `listening`: we were there all along; otherwise we come back now. */
  pass(us: number, listening = true): void {
    this.nowUs += us;
    const { fromUs, untilUs } = this.up.at(-1) as Interval;
    if (listening) {
      const longer = { fromUs, untilUs: Math.max(untilUs, this.nowUs) };
      this.up = [...this.up.slice(0, -1), longer];
    } else if (us > 0) {
      // A clock that was set back takes nothing of what was listened: as `observing` has it.
      const backUs = Math.max(this.nowUs, untilUs);
      this.up = [...this.up, { fromUs: backUs, untilUs: backUs }].slice(-16);
    }
  }

  ref(): Uint8Array {
    this.#refs++;
    const ref = new Uint8Array(32);
    new DataView(ref.buffer).setUint32(0, this.#refs);
    return ref;
  }

  lease(forUs = 60 * SECOND): Input {
    return { kind: "lease", ref: this.ref(), untilUs: this.nowUs + forUs };
  }

  /** The next beat of an honest sidecar, but for what `other` says. */
  beat(other: Partial<HeartbeatBody> = {}, accepted = true): Input {
    const wallUs = this.nowUs + AHEAD;
    const body: HeartbeatBody = {
      ...this.#body,
      counter: this.#body.counter + 1,
      wallUs,
      nextDueUs: wallUs + SECOND,
      leaseRef: this.view.facts.leaseRef,
      autonomyLeftUs: Math.max(this.view.facts.leaseUntilUs - this.nowUs, 0),
      oldestInFlightUs: this.#callSinceUs === 0 ? 0 : Math.max(this.nowUs - this.#callSinceUs, 0),
      inFlight: this.#callSinceUs === 0 ? 0 : 1,
      ...other,
    };
    if (accepted)
      this.#body = {
        ...body,
        child: "RUNNING",
        childExit: 0,
        syncLag: 0,
        ledgerHealth: "OK",
        manifestHash: MANIFEST,
      };
    return {
      kind: "beat",
      beat: { body, ref: this.ref(), signed: { body: NOTHING, signatures: [] } },
    };
  }

  attach(): Input {
    this.#body = { ...this.#body, sessionEpoch: this.#body.sessionEpoch + 1, counter: 0 };
    return { kind: "session", epoch: this.#body.sessionEpoch, attached: true };
  }

  /** One moment of a random life. */
  live(word: number) {
    const pick = dice(word);
    const kind = pick(32);
    const passUs = (STEPS_US[pick(16)] as number) * SECOND;
    this.pass(passUs, pick(8) !== 7);
    return this.take(this.#input(kind, pick));
  }

  #input(kind: number, pick: (n: number) => number): Input {
    const condition = () =>
      pick(2) === 0
        ? (this.view.conditions[pick(3)]?.type ?? this.view.conditions[0]?.type ?? "STALLED")
        : (CONDITION_TYPES[1 + pick(12)] ?? "SILENT");
    // Who is treated has more done to it than to be looked at.
    if (kind >= 12 && kind < 18 && this.view.state === "AUTOHEALING") return this.#treatment(pick);
    if (kind < 15) return this.#randomBeat(pick);
    if (kind < 20) return { kind: "tick", up: this.up };
    if (kind < 23) return this.lease();
    if (kind < 24) return this.lease(0);
    if (kind < 25) return this.attach();
    if (kind < 26 && pick(2) === 0) {
      return { kind: "session", epoch: this.#body.sessionEpoch - pick(2), attached: false };
    }
    if (kind < 29) {
      if (pick(this.view.state === "AUTOHEALING" ? 8 : 2) > 0) return this.#treatment(pick);
      return { kind: "remedy", outcome: "STARTED", condition: condition() };
    }
    if (kind < 30) {
      const held = this.view.holds.map((c) => c.type);
      const releases = pick(3) > 0 ? held : [condition()];
      return { kind: "release", releases, order: order(pick(16) === 15 ? "" : "looked at") };
    }
    switch (pick(14)) {
      case 0:
      case 1:
        return { kind: "hold", order: order(pick(16) === 15 ? "" : "stand still") };
      case 2:
        return { kind: "stop", order: order(pick(16) === 15 ? "" : "no longer needed") };
      case 3: {
        const type = (["DRIFT", "REGRESS", "KEY_MISUSE", "FORK"] as const)[pick(4)] ?? "FORK";
        return { kind: "fault", type, artifact: this.ref() };
      }
      case 4:
        return { kind: "policy", liveness: liveness(pick(64)), manifestHash: MANIFEST };
      default:
        return this.beat();
    }
  }

  #treatment(pick: (n: number) => number): Input {
    const outcome = (["SENT", "SENT", "EXHAUSTED", "SUCCEEDED"] as const)[pick(4)] ?? "SENT";
    if (outcome !== "SENT") return { kind: "remedy", outcome };
    return { kind: "remedy", outcome, directive: this.ref() };
  }

  #randomBeat(pick: (n: number) => number): Input {
    const flavour = pick(20);
    const drawn = pick(128);
    // Nothing can contradict the first beat.
    const oddity = this.view.facts.rhythm.heardUs === 0 && drawn < 122 ? 0 : drawn;
    const { scopes, size, suspendedUs, wallUs } = this.#body;
    // Of the time since the last beat the machine slept none, all, or half; now and then it tells what cannot be.
    const gapUs = Math.max(this.nowUs + AHEAD - wallUs, 0);
    const sleptUs = [gapUs, gapUs, gapUs / 2, 3 * gapUs][pick(8)] ?? 0;
    const [count] = scopes;
    const counts = count ?? { scope: "read:payments", completed: 0, failed: 0, denied: 0 };
    const other: Partial<HeartbeatBody> = {
      novelty: NOTHING_NEW,
      suspendedUs: suspendedUs + Math.floor(sleptUs),
    };
    const worked = (change: Partial<typeof counts>, actions: number) => {
      const next = { ...counts, ...change };
      other.scopes = [next];
      other.size = size + 1;
      other.root = fill(3 + size);
      other.novelty = { targets: 0, shapes: 0, outcomes: 0, actions, repeats: 0 };
    };
    if (flavour >= 6 && flavour < 9) {
      worked({ completed: counts.completed + 1 }, 5);
      other.lastProgressUs = this.nowUs + AHEAD;
      this.#callSinceUs = 0;
    }
    if (flavour === 9) other.ledgerHealth = pick(2) === 0 ? "FULL" : "FAILED";
    if (flavour === 10) other.syncLag = 60_000;
    if (flavour === 11) other.syncLag = 30_000;
    if (flavour === 12) worked({ completed: counts.completed + 3_000 }, 3_000);
    if (flavour === 13) worked({ completed: counts.completed + 10 }, 1_600);
    if (flavour === 14 && pick(4) === 0) other.novelty = { ...NOTHING_NEW, repeats: 15 + pick(10) };
    else if (flavour === 14) this.#callSinceUs = this.nowUs;
    if (flavour === 15 || flavour === 16) worked({ failed: counts.failed + 1 }, 10);
    if (flavour === 17) worked({ denied: counts.denied + 400 }, 400);
    if (flavour === 18) worked({ denied: counts.denied + 100 }, 100);
    if (flavour === 19) other.child = "STOPPED";
    if (this.#callSinceUs > 0) {
      other.inFlight = 1;
      other.oldestInFlightUs = Math.max(this.nowUs - this.#callSinceUs, 0);
    } else {
      other.inFlight = 0;
      other.oldestInFlightUs = 0;
    }
    switch (oddity) {
      case 120:
        return this.beat({ ...other, root: fill(0xf0), size: this.#body.size, scopes }, false);
      case 121:
        return this.beat({ ...other, size: Math.max(size - 1, 0), root: fill(0xf1) }, false);
      case 122:
        return this.beat({ ...other, manifestHash: fill(0xab) });
      case 123:
        return this.beat(
          { ...other, size, root: this.#body.root, counter: this.#body.counter },
          false,
        );
      case 124:
        return this.beat({ size, sessionEpoch: this.#body.sessionEpoch - 1 }, false);
      case 119:
      case 125:
        return this.beat({ ...other, child: "EXITED", childExit: 1 + pick(2) });
      case 118:
      case 126:
        return this.beat({ ...other, child: "EXITED", childExit: 1 + pick(2), syncLag: 5 });
      case 127:
        return this.beat({ ...other, leaseRef: NOTHING, autonomyLeftUs: 0 });
      default:
        return this.beat(other);
    }
  }
}

function liveness(word: number): LivenessPolicy {
  const pick = dice(word);
  return {
    ...LivenessPolicy.empty(),
    heartbeatIntervalUs: SECOND,
    silentBeyondLease: (["UNSPECIFIED", "STOP", "QUARANTINE"] as const)[pick(3)] ?? "UNSPECIFIED",
    quarantineStalled: pick(2) === 0 ? "NO" : "YES",
  };
}

/** Makes a draft whole, as a recorder would. */
export const recorded = (
  draft: Omit<TransitionBody, "version" | "transitionId" | "tenantId" | "instanceId" | "ledgerId">,
): TransitionBody => ({
  version: 1,
  transitionId: "trn_0189dcd553117d408db09496a2eef37b",
  tenantId: "acme",
  instanceId: "0189dcd553117d408db09496a2eef37b",
  ledgerId: fill(0xbb),
  ...draft,
});
