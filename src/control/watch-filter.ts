import { toHex } from "../domain/bytes.ts";
import { ANY, type Filter, type FilterFields, parseFilter } from "../domain/filter.ts";
import type { ReceiptHeader, Verdict } from "../domain/receipt.ts";
import { CONDITION_TYPES, type State, type TransitionBody } from "../domain/transition.ts";
import type { Value } from "../domain/when.ts";
import { stateFromWire } from "../wire/enums.ts";
import type { LedgerRecord } from "./projection.ts";
import { badArgument } from "./services/requests.ts";
import type { Tenant } from "./tenant.ts";

/** Which organisms somebody watches; empty and null: any. */
export interface OrganismFilter {
  readonly state: State | null;
  readonly name: string;
  readonly version: string;
  /** That its grant names. */
  readonly scope: string;
  readonly when: Filter;
}

/** Which receipts somebody watches; empty and null: any. */
export interface ReceiptFilter extends OrganismFilter {
  readonly ledgerId: Uint8Array | null;
  readonly verdict: Verdict | null;
}

const CONDITIONS = CONDITION_TYPES.filter((type) => type !== "UNSPECIFIED");

const WHO: FilterFields = {
  "organism.name": "STRING",
  "organism.version": "STRING",
  "organism.instance_id": "STRING",
};
/** What a condition of Watch may ask for. */
export const ORGANISM_FIELDS: FilterFields = {
  ...WHO,
  "organism.state": "STRING",
  "organism.desired": "STRING",
  "organism.manifest_hash": "STRING",
  "organism.grant_ref": "STRING",
  "organism.docked_at_us": "INT",
  "organism.since_us": "INT",
  "organism.observe_until_us": "INT",
  ...Object.fromEntries(CONDITIONS.map((type) => [`organism.conditions.${type}`, "BOOL"] as const)),
};
/** What a condition of WatchReceipts may ask for. */
export const RECEIPT_FIELDS: FilterFields = {
  "receipt.verdict": "STRING",
  "receipt.reason": "STRING",
  "receipt.scope": "STRING",
  "receipt.kind": "STRING",
  "receipt.would_deny": "STRING",
  "receipt.count": "INT",
  "receipt.seq": "INT",
  "receipt.opened_at_us": "INT",
  "receipt.closed_at_us": "INT",
  ...WHO,
};

/** null: any. */
export function stateOf(wire: Parameters<typeof stateFromWire>[0]): State | null {
  const state = stateFromWire(wire);
  if (state === null) throw badArgument("state", "is none of the list");
  return state === "UNSPECIFIED" ? null : state;
}

/** @throws INVALID_ARGUMENT for what is no condition over these fields. */
export function filterOf(when: string, fields: FilterFields): Filter {
  const filter = parseFilter(when, fields);
  if (typeof filter === "string") throw badArgument("when", filter);
  return filter;
}

/** An organism at some revision, or now. */
export interface Moment {
  readonly ledger: LedgerRecord;
  /** That made its state; null: docked. */
  readonly transition: { readonly body: TransitionBody } | null;
  /**
   * Its state before the change that is told of: who watches a state hears of what leaves it, too; null:
   * nothing changes.
   */
  readonly before: State | null;
}

/**
 * Whether a watcher is told of an organism.
 *
 * @param valuesOf what conditions may ask of it: where many watch, it is found out once for all of them
 */
export function wantsOrganism(
  filter: OrganismFilter,
  tenant: Tenant,
  moment: Moment,
  valuesOf = () => organismValues(tenant, moment),
): boolean {
  const { state, scope, when } = filter;
  const { ledger, transition, before } = moment;
  if (!namedAs(filter, tenant, ledger.manifestHash)) return false;
  const isIn = (wanted: State): boolean =>
    wanted === before || wanted === (transition?.body.to ?? "DOCKED");
  if (state !== null && !isIn(state)) return false;
  if (scope !== "" && !isGranted(tenant, ledger, scope)) return false;
  if (when === ANY) return true;
  const values = valuesOf();
  if (when.holds(values)) return true;
  return before !== null && when.holds(new Map(values).set("organism.state", before));
}

/** Whether a watcher is told of a receipt of this ledger, which is one that it asks for. */
export function wantsReceipt(
  { verdict, scope, state, when, ...named }: Omit<ReceiptFilter, "ledgerId">,
  tenant: Tenant,
  ledger: LedgerRecord,
  header: ReceiptHeader,
): boolean {
  if (verdict !== null && header.verdict !== verdict) return false;
  if (scope !== "" && header.scope !== scope) return false;
  if (state !== null && state !== ledger.state) return false;
  if (!namedAs(named, tenant, header.manifestHash)) return false;
  if (when === ANY) return true;
  return when.holds(
    new Map<string, Value>([
      ["receipt.verdict", header.verdict],
      ["receipt.reason", header.reason],
      ["receipt.scope", header.scope],
      ["receipt.kind", header.kind],
      ["receipt.would_deny", header.wouldDeny],
      ["receipt.count", BigInt(header.count)],
      ["receipt.seq", BigInt(header.seq)],
      ["receipt.opened_at_us", BigInt(header.openedAtUs)],
      ["receipt.closed_at_us", BigInt(header.closedAtUs)],
      ...whoValues(tenant, ledger.instanceId, header.manifestHash),
    ]),
  );
}

function namedAs(
  { name, version }: Pick<OrganismFilter, "name" | "version">,
  tenant: Tenant,
  manifestHash: Uint8Array,
): boolean {
  if (name === "" && version === "") return true;
  const body = tenant.manifest(manifestHash)?.artifact.body;
  return (name === "" || body?.name === name) && (version === "" || body?.agentVersion === version);
}

const isGranted = (tenant: Tenant, { grantRef }: LedgerRecord, scope: string): boolean =>
  tenant.grant(grantRef)?.artifact.body.scopes.some(({ name }) => name === scope) ?? false;

function whoValues(
  tenant: Tenant,
  instanceId: string,
  manifestHash: Uint8Array,
): [string, Value][] {
  const body = tenant.manifest(manifestHash)?.artifact.body;
  return [
    ["organism.name", body?.name ?? ""],
    ["organism.version", body?.agentVersion ?? ""],
    ["organism.instance_id", instanceId],
  ];
}

export function organismValues(
  tenant: Tenant,
  { ledger, transition }: Moment,
): ReadonlyMap<string, Value> {
  const body = transition?.body;
  const grant = tenant.grant(ledger.grantRef)?.artifact.body;
  const conditions = new Set<string>(body?.conditions.map(({ type }) => type));
  return new Map<string, Value>([
    ...whoValues(tenant, ledger.instanceId, ledger.manifestHash),
    ["organism.state", body?.to ?? "DOCKED"],
    ["organism.desired", body?.desired ?? "RUN"],
    ["organism.manifest_hash", toHex(ledger.manifestHash)],
    ["organism.grant_ref", toHex(ledger.grantRef)],
    ["organism.docked_at_us", BigInt(ledger.openedAtUs)],
    ["organism.since_us", BigInt(body?.atUs ?? ledger.openedAtUs)],
    ["organism.observe_until_us", BigInt(grant?.observeUntilUs ?? 0)],
    ...CONDITIONS.map((type) => [`organism.conditions.${type}`, conditions.has(type)] as const),
  ]);
}
