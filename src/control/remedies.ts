import type { DirectiveBody } from "../domain/directive.ts";
import {
  remedyBackoffMaxUs,
  remedyBackoffMinUs,
  remedyPatienceUs,
  remedyUs,
} from "../domain/limits.ts";
import type { OrganismView } from "../domain/organism.ts";
import { CONDITION_TYPES, type Condition, type ConditionType } from "../domain/transition.ts";
import type { Organisms } from "./organisms.ts";
import type { LedgerRecord } from "./projection.ts";
import type { Tenant } from "./tenant.ts";

/** What is tried for a condition, mildest first. Conditions without a row have no remedy. */
const REMEDIES: Partial<Record<ConditionType, readonly DirectiveBody["kind"][]>> = {
  LEASE_ZERO: ["RESYNC", "REATTACH"],
  SYNC_LAG: ["RESYNC", "REATTACH"],
  LEDGER_FAULT: ["RESYNC", "REATTACH"],
  STALLED: ["RESTART_AGENT", "REATTACH"],
  LOOPING: ["RESTART_AGENT"],
  DENIAL_STORM: ["RESTART_AGENT"],
};

/** How the remedies of one organism stand. Forgotten at a restart: then the wait begins anew. */
interface Course {
  condition: ConditionType;
  /** Remedies sent so far. */
  sent: number;
  /** The last of them; empty: it is being recorded. */
  directiveId: string;
  /** When the last one must have worked, or the next course may begin. */
  untilUs: number;
  backoffUs: number;
}

/**
 * Tries what may help organisms whose condition persists, by directives to their sidecars. The state
 * machine says when one may be tried and what its outcome means; here is only the course of them.
 */
export class Remedies {
  readonly #tenant: Tenant;
  readonly #organisms: Organisms;
  readonly #courses = new Map<string, Course>();

  constructor(tenant: Tenant, organisms: Organisms) {
    this.#tenant = tenant;
    this.#organisms = organisms;
  }

  /** A look at everybody. At least every few seconds. */
  tick(nowUs: number): void {
    for (const { instanceId, view } of this.#organisms.all()) {
      const { state } = view;
      if (state === "DEGRADED") {
        // Of a fleet that lost its network thousands are, and few of those are there and still ill.
        if (view.isAttached && view.isIll) this.#begin(instanceId, nowUs);
      } else if (state === "AUTOHEALING") this.#goOn(instanceId, nowUs);
      else if (state !== "RUNNING") this.#courses.delete(instanceId);
    }
  }

  #begin(instanceId: string, nowUs: number): void {
    const before = this.#courses.get(instanceId);
    if (nowUs < (before?.untilUs ?? 0)) return;
    const view = this.#organisms.view(instanceId);
    const ledger = this.#tenant.instance(instanceId);
    const wrong = ledger === null ? undefined : curable(view, ledger, nowUs);
    if (wrong === undefined) return;
    const { type: condition, artifact } = wrong;
    const started = { kind: "remedy", outcome: "STARTED", condition, artifact } as const;
    if (this.#organisms.input(instanceId, started).refused !== null) return;
    const backoffUs = before?.backoffUs ?? remedyBackoffMinUs;
    const course = { condition, sent: 0, directiveId: "", untilUs: 0, backoffUs };
    this.#courses.set(instanceId, course);
    this.#send(instanceId, course, nowUs);
  }

  #goOn(instanceId: string, nowUs: number): void {
    const view = this.#organisms.view(instanceId);
    const course = this.#courses.get(instanceId) ?? resumed(view, nowUs);
    this.#courses.set(instanceId, course);
    const { condition, sent } = course;
    const still = view.conditions.find((c) => c.type === condition);
    const outcome = (of: "SUCCEEDED" | "EXHAUSTED") =>
      this.#organisms.input(instanceId, {
        kind: "remedy",
        outcome: of,
        condition,
        artifact: still?.artifact ?? new Uint8Array(0),
      });
    if (still === undefined && view.conditions.length === 0) {
      if (view.remedy !== "SUCCEEDED") outcome("SUCCEEDED");
      return;
    }
    // Whoever says that it did not do it is not waited for.
    const results = view.facts.beat.directiveResults;
    const result = results.find((r) => r.directiveId === course.directiveId);
    const undone = result !== undefined && result.outcome !== "DONE";
    if (nowUs < course.untilUs && !undone) return;
    if (sent < (REMEDIES[condition]?.length ?? 0)) {
      this.#send(instanceId, course, nowUs);
      return;
    }
    course.untilUs = nowUs + course.backoffUs;
    course.backoffUs = Math.min(2 * course.backoffUs, remedyBackoffMaxUs);
    outcome("EXHAUSTED");
  }

  #send(instanceId: string, course: Course, nowUs: number): void {
    const kind = REMEDIES[course.condition]?.[course.sent];
    if (kind === undefined) return;
    course.sent += 1;
    course.directiveId = "";
    course.untilUs = nowUs + remedyUs;
    this.#organisms.direct(instanceId, kind, `${course.condition} persists`).then(
      (directiveId) => {
        course.directiveId = directiveId;
      },
      () => {
        // The tenant has failed for good, and its owner is told so.
      },
    );
  }
}

/** After a restart nobody knows what was sent: what is under way gets its time, and then it is over. */
function resumed(view: OrganismView, nowUs: number): Course {
  const condition = view.conditions.find((c) => REMEDIES[c.type] !== undefined)?.type;
  return {
    condition: condition ?? "UNSPECIFIED",
    sent: CONDITION_TYPES.length,
    directiveId: "",
    untilUs: nowUs + remedyUs,
    backoffUs: remedyBackoffMinUs,
  };
}

/** The oldest condition that has lasted, and that a remedy may cure. */
function curable(
  view: OrganismView,
  { lease }: LedgerRecord,
  nowUs: number,
): Condition | undefined {
  return (
    view.conditions
      // How long a stall is waited out is the grant's to say.
      .filter((c) => c.type === "STALLED" || nowUs - c.sinceUs >= remedyPatienceUs)
      .filter((c) => REMEDIES[c.type] !== undefined)
      .filter((c) => c.type !== "LEASE_ZERO" || lease?.revokedEpoch === 0)
      .sort((a, b) => a.sinceUs - b.sinceUs)[0]
  );
}
