import { toHex } from "../../domain/bytes.ts";
import { HeartbeatBody } from "../../domain/heartbeat.ts";
import { LeaseBody } from "../../domain/lease.ts";
import { watchRetryUs } from "../../domain/limits.ts";
import {
  CONDITION_TYPES,
  type ConditionType,
  DESIRES,
  type Desire,
  STATES,
  type State,
  TransitionBody,
} from "../../domain/transition.ts";
import type {
  OrganismState,
  ConditionType as WireCondition,
} from "../../gen/dragons/v1/artifacts_pb.ts";
import { type Organism, type Pulse, WatchEvent } from "../../gen/dragons/v1/organism_pb.ts";
import { StatusError } from "../../wire/status.ts";
import { type Control, pages, requestId } from "../client.ts";
import { Unreachable } from "../failure.ts";
import { alarmText } from "./alarm.ts";
import { type LeftView, leftBy } from "./left.ts";

export interface ConditionView {
  readonly type: ConditionType;
  readonly sinceUs: number;
}

/** An organism as it is shown. Hashes in hex, times in microseconds. */
export interface OrganismView {
  readonly instanceId: string;
  readonly ledgerId: string;
  /** `reconciler@v7` */
  readonly manifest: string;
  readonly manifestHash: string;
  readonly grantRef: string;
  readonly state: State;
  readonly desired: Desire;
  readonly conditions: readonly ConditionView[];
  readonly revision: number;
  readonly dockedAtUs: number;
  readonly sinceUs: number;
  /** Why it is in this state; null: it has not left DOCKED. */
  readonly cause: string | null;
  /** Until then its grant merely observes; 0: scopes are enforced. */
  readonly observeUntilUs: number;
}

/** What changes with every beat. */
export interface PulseView {
  readonly heardAtUs: number;
  readonly beat: number;
  readonly size: number;
  readonly heldSize: number;
  readonly inFlight: number;
  readonly leaseId: string;
  readonly leaseUntilUs: number;
  readonly attached: boolean;
  /** Whether the agent could go round its sidecar; null: it has never beaten. */
  readonly enforcement: HeartbeatBody["enforcement"] | null;
  /** For how long it could go on alone, when it beat. */
  readonly autonomyLeftUs: number;
  /** In each scope of its lease, as of that beat. */
  readonly left: readonly LeftView[];
}

export type WatchView =
  | { readonly event: "ORGANISM"; readonly revision: number; readonly organism: OrganismView }
  | { readonly event: "ALARM"; readonly revision: number; readonly alarm: string }
  | { readonly event: "SYNCED" | "BOOKMARK"; readonly revision: number };

/** Every organism, or those in one state. */
export async function listOrganisms(control: Control, state?: State): Promise<OrganismView[]> {
  const all: OrganismView[] = [];
  const wanted = wireState(state);
  const page = (pageToken: string) => control.organisms.listOrganisms({ state: wanted, pageToken });
  for await (const { organisms } of pages(page)) all.push(...organisms.map(organismView));
  return all;
}

export async function getOrganism(
  control: Control,
  instanceId: string,
): Promise<{ readonly organism: OrganismView; readonly pulse: PulseView | null }> {
  const { organism, pulse } = await control.organisms.getOrganism({ instanceId });
  return {
    organism: organismView(organism as Organism),
    pulse: pulse === undefined ? null : pulseView(pulse),
  };
}

/** What a watch asks for; all of it must hold. */
export interface OrganismWatchFilter {
  readonly state?: State;
  readonly name?: string;
  readonly version?: string;
  /** That its grant names. */
  readonly scope?: string;
  /** A condition over `organism.…`. */
  readonly when?: string;
}

/**
 * Every change, once and in order: what is there first, then SYNCED, then changes as they are made. A
 * lost stream is resumed where it broke off; a token that has become too old begins anew with what is
 * there. Ends when `signal` aborts.
 */
export async function* watchOrganisms(
  control: Control,
  filter: OrganismWatchFilter = {},
  signal?: AbortSignal,
): AsyncGenerator<WatchView> {
  let resumeToken = "";
  const wanted = {
    state: wireState(filter.state),
    name: filter.name ?? "",
    agentVersion: filter.version ?? "",
    scope: filter.scope ?? "",
    when: filter.when ?? "",
  };
  while (!aborted(signal)) {
    try {
      const options = signal === undefined ? {} : { signal };
      for await (const m of control.organisms.watch({ ...wanted, resumeToken }, options)) {
        const revision = Number(m.revision);
        if (m.organism !== undefined) {
          yield { event: "ORGANISM", revision, organism: organismView(m.organism) };
        } else if (m.alarm !== undefined) {
          yield { event: "ALARM", revision, alarm: alarmText(m.alarm) };
        } else yield { event: m.event === WatchEvent.SYNCED ? "SYNCED" : "BOOKMARK", revision };
        resumeToken = m.resumeToken;
      }
    } catch (error) {
      if (aborted(signal)) return;
      const expired = error instanceof StatusError && error.code === "OUT_OF_RANGE";
      resumeToken = expired ? "" : resumeFrom(error, resumeToken);
    }
    await pause(signal);
  }
}

/** Where a watch that broke off goes on. @throws what no other try would cure. */
export function resumeFrom(error: unknown, token: string): string {
  if (error instanceof StatusError && error.code === "RESOURCE_EXHAUSTED") {
    return error.metadata.resume_token ?? token;
  }
  const lost =
    error instanceof Unreachable || (error instanceof StatusError && error.code === "UNAVAILABLE");
  // Before the first answer it was never there, and the caller should hear so.
  if (lost && token !== "") return token;
  throw error;
}

/** Until the next try, or until nobody watches any more. Holds the process open meanwhile. */
export const pause = (signal: AbortSignal | undefined): Promise<void> =>
  new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, watchRetryUs / 1000);
    signal?.addEventListener("abort", end);
    if (aborted(signal)) end();
  });

/** Asked anew each time: it changes while we wait. */
export const aborted = (signal: AbortSignal | undefined): boolean => signal?.aborted === true;

/** None: of any state. */
const wireState = (state: State | undefined): OrganismState =>
  STATES.indexOf(state ?? "UNSPECIFIED") as OrganismState;

interface Ordered {
  readonly instanceId: string;
  /** A sentence for people; recorded. */
  readonly reason: string;
}

export async function quarantine(control: Control, order: Ordered): Promise<OrganismView> {
  const { organism } = await control.organisms.quarantine({ requestId: requestId(), ...order });
  return organismView(organism as Organism);
}

/** @param order `conditions` names what is released; none: all that hold it now. */
export async function release(
  control: Control,
  order: Ordered & { readonly conditions: readonly ConditionType[] },
): Promise<OrganismView> {
  let types = order.conditions;
  if (types.length === 0) {
    const { organism } = await control.organisms.getOrganism({ instanceId: order.instanceId });
    types = holding(organism as Organism);
  }
  const { organism } = await control.organisms.release({
    requestId: requestId(),
    instanceId: order.instanceId,
    reason: order.reason,
    conditions: types.map((type) => CONDITION_TYPES.indexOf(type) as WireCondition),
  });
  return organismView(organism as Organism);
}

/** What holds it quarantined; of one that is not, what is wrong with it. */
function holding({ transition, conditions }: Organism): ConditionType[] {
  const holds = transition === undefined ? [] : TransitionBody.decode(transition.body).basis.holds;
  if (holds.length > 0) return holds.map((c) => c.type);
  return conditions.map((c) => CONDITION_TYPES[c.type] ?? "UNSPECIFIED");
}

export async function stop(control: Control, order: Ordered): Promise<OrganismView> {
  const { organism } = await control.organisms.stop({ requestId: requestId(), ...order });
  return organismView(organism as Organism);
}

function organismView(o: Organism): OrganismView {
  return {
    instanceId: o.instanceId,
    ledgerId: toHex(o.ledgerId),
    manifest: `${o.name}@${o.agentVersion}`,
    manifestHash: toHex(o.manifestHash),
    grantRef: toHex(o.grantRef),
    state: STATES[o.state] ?? "UNSPECIFIED",
    desired: DESIRES[o.desired] ?? "UNSPECIFIED",
    conditions: o.conditions.map((c) => ({
      type: CONDITION_TYPES[c.type] ?? "UNSPECIFIED",
      sinceUs: Number(c.sinceUs),
    })),
    revision: Number(o.revision),
    dockedAtUs: Number(o.dockedAtUs),
    sinceUs: Number(o.sinceUs),
    cause: o.transition === undefined ? null : TransitionBody.decode(o.transition.body).cause,
    observeUntilUs: Number(o.observeUntilUs),
  };
}

function pulseView(p: Pulse): PulseView {
  const beat = p.heartbeat === undefined ? null : HeartbeatBody.decode(p.heartbeat.body);
  const lease = p.lease === undefined ? null : LeaseBody.decode(p.lease.body);
  return {
    heardAtUs: Number(p.heardAtUs),
    beat: beat?.counter ?? 0,
    size: beat?.size ?? 0,
    heldSize: Number(p.heldSize),
    inFlight: beat?.inFlight ?? 0,
    leaseId: lease?.leaseId ?? "",
    leaseUntilUs: lease?.notAfterUs ?? 0,
    attached: p.attached,
    enforcement: beat?.enforcement ?? null,
    autonomyLeftUs: beat?.autonomyLeftUs ?? 0,
    left: leftBy(lease?.scopes ?? [], beat?.spent ?? []),
  };
}
