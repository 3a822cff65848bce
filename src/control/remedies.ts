import { policyOf } from "../domain/conditions.ts";
import { remediesFor, remedyDue } from "../domain/intake.ts";
import {
  remedyBackoffMaxUs,
  remedyBackoffMinUs,
  remedyPatienceUs,
  remedyUs,
} from "../domain/limits.ts";
import type { OrganismView } from "../domain/organism.ts";
import type { ConditionType } from "../domain/transition.ts";
import type { Organisms } from "./organisms.ts";
import type { LedgerRecord } from "./projection.ts";
import type { Tenant } from "./tenant.ts";

/** What is remembered of the remedies of one organism beside its view. Forgotten at a restart: then the wait begins anew. */
interface Course {
  /** The last directive; empty: it is being recorded, or was sent by who was here before. */
  directiveId: string;
  /** When the last one must have worked, or the next course may begin. */
  untilUs: number;
  backoffUs: number;
}

/**
 * Tries what may help organisms whose condition persists, by directives to their sidecars. The state
 * machine says when one may be tried, which is next and what its outcome means; here is only how long each is given.
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
    const ledger = this.#tenant.instance(instanceId);
    const condition = ledger && curable(this.#organisms.view(instanceId), ledger, nowUs);
    if (!condition) return;
    const started = { kind: "remedy", outcome: "STARTED", condition } as const;
    if (this.#organisms.input(instanceId, started).refused !== null) return;
    const backoffUs = before?.backoffUs ?? remedyBackoffMinUs;
    const course = { directiveId: "", untilUs: 0, backoffUs };
    this.#courses.set(instanceId, course);
    this.#send(instanceId, course, nowUs);
  }

  #goOn(instanceId: string, nowUs: number): void {
    const { remedy, treated, directives, conditions, facts } = this.#organisms.view(instanceId);
    if (remedy !== "STARTED") return;
    const course = this.#courses.get(instanceId) ?? resumed(nowUs);
    this.#courses.set(instanceId, course);
    const outcome = (of: "SUCCEEDED" | "EXHAUSTED") =>
      this.#organisms.input(instanceId, { kind: "remedy", outcome: of });
    if (!conditions.some((c) => c.type === treated)) {
      outcome("SUCCEEDED");
      return;
    }
    // Whoever says that it did not do it is not waited for.
    const { directiveId } = course;
    const result = facts.beat.directiveResults.find((r) => r.directiveId === directiveId);
    const undone = result !== undefined && result.outcome !== "DONE";
    if (nowUs < course.untilUs && !undone) return;
    if (directives.length < remediesFor(treated).length) {
      this.#send(instanceId, course, nowUs);
      return;
    }
    // What has passed just now is seen to have, at the next look.
    if (outcome("EXHAUSTED").refused !== null) return;
    course.untilUs = nowUs + course.backoffUs;
    course.backoffUs = Math.min(2 * course.backoffUs, remedyBackoffMaxUs);
  }

  /** The next one, which has its time from now on; whatever the last one came to does not count any more. */
  #send(instanceId: string, course: Course, nowUs: number): void {
    course.directiveId = "";
    course.untilUs = nowUs + remedyUs;
    this.#organisms.sendRemedy(instanceId).then(
      (directiveId) => {
        course.directiveId = directiveId;
      },
      () => {
        // The tenant has failed for good, and its owner is told so.
      },
    );
  }
}

/** After a restart nobody knows when the last one was sent: it gets its time from now on. */
const resumed = (nowUs: number): Course => ({
  directiveId: "",
  untilUs: nowUs + remedyUs,
  backoffUs: remedyBackoffMinUs,
});

/** The oldest condition that has lasted, and that a remedy may cure now. */
function curable(
  { conditions, facts, liveness }: OrganismView,
  { lease }: LedgerRecord,
  nowUs: number,
): ConditionType | undefined {
  const policy = policyOf(liveness);
  return (
    conditions
      // How long a stall is waited out is the grant's to say.
      .filter((c) => c.type === "STALLED" || nowUs - c.sinceUs >= remedyPatienceUs)
      .filter((c) => remedyDue(c.type, facts, policy))
      .filter((c) => c.type !== "LEASE_ZERO" || lease?.revokedEpoch === 0)
      .sort((a, b) => a.sinceUs - b.sinceUs)[0]?.type
  );
}
