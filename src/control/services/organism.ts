import type { MessageInitShape } from "@bufbuild/protobuf";
import { toHex } from "../../domain/bytes.ts";
import type { Refusal } from "../../domain/intake.ts";
import { isInvalid } from "../../domain/invalid.ts";
import { purposeMax } from "../../domain/limits.ts";
import type { Input, Order } from "../../domain/organism.ts";
import { isPrintable } from "../../domain/printable.ts";
import type { SignedBytes } from "../../domain/signed.ts";
import { OrganismService, type PulseSchema } from "../../gen/dragons/v1/organism_pb.ts";
import { toWire } from "../../wire/artifacts.ts";
import { conditionFromWire } from "../../wire/enums.ts";
import { Queue } from "../../wire/queue.ts";
import type { CallContext, Handlers } from "../../wire/rpc.ts";
import { StatusError, shuttingDown } from "../../wire/status.ts";
import { type Operator, operatorOf } from "../auth.ts";
import type { Fleet, TenantFleet } from "../fleet.ts";
import { organismNow } from "../organism-change.ts";
import type { LedgerRecord, Recordable } from "../projection.ts";
import { reopen } from "../reopen.ts";
import type { Tenant } from "../tenant.ts";
import type { OpenRecord } from "../tenant-ledger.ts";

import { filterOf, ORGANISM_FIELDS, stateOf } from "../watch-filter.ts";
import { badArgument, mutation, notFound, pageByName, pageOf, pageToken } from "./requests.ts";

interface Commanding {
  readonly $typeName: string;
  readonly requestId: string;
  readonly instanceId: string;
  readonly reason: string;
}

/** Organisms, for operators: whether they live, what they did, and a word to them. */
export function organismService(fleet: Fleet): Handlers<typeof OrganismService> {
  const { method } = OrganismService;

  /** A command is carried out once, and answers with the organism as it then is. */
  async function prepared(operator: Operator, request: Commanding, input: (order: Order) => Input) {
    const { tenant } = operator;
    const { organisms } = await fleet.of(tenant);
    return async () => {
      const { instanceId } = found(tenant, request.instanceId);
      const order = orderOf(operator, request.reason);
      const { refused, entries, writes } = await organisms.command(instanceId, input(order));
      if (refused !== null) throw refusedAs(refused);
      const answer = (revision: number) => ({
        organism: shown(tenant, instanceId, entries, revision),
      });
      return { entries, writes, answer };
    };
  }

  return {
    async listOrganisms(request, context) {
      const { tenant } = operatorOf(context);
      const { watch } = await fleet.of(tenant);
      const state = stateOf(request.state);
      const { resumeToken: first } = pageOf(method.listOrganisms, request);
      const revision = Math.max(tenant.durableSize, tenant.changedSeq);
      // Of the first page: whoever watches on from any page hears of what changed on those before it.
      const resumeToken = first === "" ? watch.tokenAt(revision) : first;
      // By what a succession does not change: its ledger's place would have others passed over.
      const nameOf = (l: LedgerRecord): string => l.instanceId;
      const ledgers = [...tenant.instances()].filter((l) => state === null || l.state === state);
      const page = pageByName(method.listOrganisms, request, ledgers, nameOf, resumeToken);
      const organisms = page.items.map((l) => organismNow(tenant, l));
      await tenant.settled();
      return { organisms, nextPageToken: page.nextPageToken, resumeToken };
    },

    async getOrganism({ instanceId }, context) {
      const { tenant } = operatorOf(context);
      const ledger = found(tenant, instanceId);
      const organism = organismNow(tenant, ledger);
      const pulse = await pulseOf(await fleet.of(tenant), ledger);
      await tenant.settled();
      return { organism, ...(pulse === null ? {} : { pulse }) };
    },

    async *watch(request, context) {
      const { tenant } = operatorOf(context);
      const { watch } = await fleet.of(tenant);
      const filter = {
        state: stateOf(request.state),
        name: request.name,
        version: request.agentVersion,
        scope: request.scope,
        when: filterOf(request.when, ORGANISM_FIELDS),
      };
      return yield* watch.watch(request.resumeToken, filter);
    },

    async *watchPulse({ instanceId }, context) {
      const { tenant } = operatorOf(context);
      if (instanceId !== "") found(tenant, instanceId);
      for await (const pulse of pulses(fleet, tenant, instanceId, context)) {
        yield { pulse };
      }
    },

    async quarantine(request, context) {
      const operator = operatorOf(context);
      const prepare = await prepared(operator, request, (order) => ({ kind: "hold", order }));
      return mutation(method.quarantine, operator, request, prepare);
    },

    async release(request, context) {
      const operator = operatorOf(context);
      const releases = request.conditions.map((c) => {
        const type = conditionFromWire(c);
        if (type === null || type === "UNSPECIFIED") {
          throw badArgument("conditions", `${c} is no condition`);
        }
        return type;
      });
      const prepare = await prepared(operator, request, (order) => ({
        kind: "release",
        releases,
        order,
      }));
      return mutation(method.release, operator, request, prepare);
    },

    async stop(request, context) {
      const operator = operatorOf(context);
      const prepare = await prepared(operator, request, (order) => ({ kind: "stop", order }));
      return mutation(method.stop, operator, request, prepare);
    },

    async listTransitions(request, context) {
      const { tenant } = operatorOf(context);
      const { instanceId } = found(tenant, request.instanceId);
      const { size, afterSeq } = pageOf(method.listTransitions, request);
      const { crypto } = fleet.parts;
      // One more than is shown tells whether there is a next page.
      const records = await tenant.transitions(instanceId, afterSeq, size + 1);
      const page = records.slice(0, size);
      const wire = (record: OpenRecord) => {
        const entry = reopen(crypto, record);
        if (isInvalid(entry)) throw new Error(entry.detail);
        if (entry.what === "transition" || entry.what === "heartbeat") {
          return toWire(entry.artifact.signed);
        }
        throw new Error(`neither transition nor heartbeat at seq ${record.seq}`);
      };
      const transitions = page.map(wire);
      const last = { afterSeq: page.at(-1)?.seq ?? afterSeq };
      const beats = await tenant.heartbeats(instanceId, afterSeq, last.afterSeq);
      const nextPageToken = records.length > size ? pageToken(method.listTransitions, last) : "";
      return {
        transitions,
        nextPageToken,
        heartbeats: beats.map(wire),
        ...(await origins(tenant, instanceId)),
      };
    },
  };
}

function found(tenant: Tenant, instanceId: string): LedgerRecord {
  const ledger = tenant.instance(instanceId);
  if (ledger === null) throw notFound("organism");
  return ledger;
}

/** What the ledgers of an instance were born from, each once. */
async function origins(tenant: Tenant, instanceId: string) {
  const ledgers = tenant.ledgersOf(instanceId);
  const docks = new Map(ledgers.map((l) => [toHex(l.dockRef), tenant.dock(l.dockRef)]));
  const grants = new Map(ledgers.map((l) => [toHex(l.grantRef), tenant.grant(l.grantRef)]));
  const signed = (all: Map<string, { artifact: { signed: SignedBytes } } | null>) =>
    [...all.values()].flatMap((r) => (r === null ? [] : [toWire(r.artifact.signed)]));
  return {
    geneses: (await Promise.all(ledgers.map((l) => tenant.genesis(l)))).map((g) =>
      toWire(g.signed),
    ),
    docks: signed(docks),
    grants: signed(grants),
  };
}

function orderOf({ key }: Operator, reason: string): Order {
  if (reason === "" || reason.length > purposeMax || !isPrintable(reason)) {
    throw badArgument("reason", `say why, in at most ${purposeMax} printable characters`);
  }
  return { actor: key, reason, artifact: new Uint8Array(0) };
}

/** The organism with the transitions of this command, which the projection learns of only now. */
function shown(
  tenant: Tenant,
  instanceId: string,
  entries: readonly Recordable[],
  revision: number,
) {
  const ledger = found(tenant, instanceId);
  for (const [i, entry] of [...entries.entries()].reverse()) {
    if (entry.what !== "transition") continue;
    const changedSeq = revision - entries.length + i + 1;
    return organismNow(tenant, { ...ledger, transition: entry.artifact, changedSeq });
  }
  return organismNow(tenant, ledger);
}

const REFUSALS: Readonly<Record<Refusal, string>> = {
  STOPPED: "it has stopped for good",
  STALE_BEAT: "it is out of turn",
  OLD_SESSION: "it is out of turn",
  FORK_IS_FINAL: "a fork is never released: open a new instance",
  NOT_QUARANTINED: "it is neither quarantined nor without a lease",
  NOT_HELD: "name exactly conditions that hold it quarantined",
  NO_REASON: "say why",
  REMEDY_OUT_OF_TURN: "it is out of turn",
};

const refusedAs = (refusal: Refusal): StatusError =>
  new StatusError(
    "FAILED_PRECONDITION",
    refusal === "FORK_IS_FINAL" ? "FORK_NOT_RELEASABLE" : "STATE_UNFIT",
    REFUSALS[refusal],
    { refusal },
  );

/** What changes with every beat; null: it has never beaten. */
async function pulseOf(
  fleet: TenantFleet,
  ledger: LedgerRecord,
): Promise<MessageInitShape<typeof PulseSchema> | null> {
  const { instanceId } = ledger;
  const beat = fleet.organisms.beat(instanceId);
  const { facts } = fleet.organisms.view(instanceId);
  const held = await fleet.held(ledger);
  if (beat === null) return null;
  return {
    instanceId,
    heartbeat: toWire(beat),
    heardAtUs: BigInt(facts.rhythm.heardUs),
    ...(ledger.lease === null ? {} : { lease: toWire(ledger.lease.artifact.signed) }),
    heldSize: BigInt(held.size),
    checkpoint: fleet.sessions.checkpoint(ledger),
    attached: facts.attached,
  };
}

/** The latest of each organism, whenever it changed and the reader has time for it. */
async function* pulses(all: Fleet, tenant: Tenant, only: string, { signal }: CallContext) {
  const fleet = await all.of(tenant);
  const changed = new Set<string>();
  // One is enough: whoever wakes takes all that changed by then.
  const wake = new Queue<true>(1);
  const end = () => wake.end();
  const close = () => wake.fail(shuttingDown());
  signal.addEventListener("abort", end, { once: true });
  all.closing.addEventListener("abort", close, { once: true });
  const tell = (instanceId: string) => {
    if (only !== "" && instanceId !== only) return;
    changed.add(instanceId);
    wake.push(true);
  };
  const stop = fleet.pulse.listen(tell);
  try {
    for (const { instanceId } of fleet.tenant.instances()) tell(instanceId);
    for await (const _ of wake) {
      for (const instanceId of changed) {
        changed.delete(instanceId);
        const pulse = await pulseOf(fleet, found(fleet.tenant, instanceId));
        if (pulse !== null) yield pulse;
      }
    }
  } finally {
    stop();
    signal.removeEventListener("abort", end);
    all.closing.removeEventListener("abort", close);
  }
}
