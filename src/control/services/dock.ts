import type { Alarm } from "../../domain/alarm.ts";
import { equal, toHex } from "../../domain/bytes.ts";
import { DockBody, verifyDock } from "../../domain/dock.ts";
import { GenesisBody, verifyGenesis } from "../../domain/genesis.ts";
import { dockTtlMaxUs, joinKeyAlarmsMax } from "../../domain/limits.ts";
import { takesPlace } from "../../domain/organism.ts";
import { SignedBytes, type Verified } from "../../domain/signed.ts";
import { DockService } from "../../gen/dragons/v1/dock_pb.ts";
import { fromWire, kept, toWire } from "../../wire/artifacts.ts";
import type { Handlers } from "../../wire/rpc.ts";
import { StatusError } from "../../wire/status.ts";
import { operatorOf } from "../auth.ts";
import type { Fleet } from "../fleet.ts";
import type { Organisms } from "../organisms.ts";
import type { DockRecord, GrantRecord, ManifestRecord } from "../projection.ts";
import type { Tenant } from "../tenant.ts";
import type { Tenants } from "../tenants.ts";
import { type EnrolParts, enrolment } from "./enrol.ts";
import {
  badArgument,
  believed,
  mutation,
  notByRevoked,
  notFound,
  notOver,
  notRetired,
  pageBySeq,
  peek,
} from "./requests.ts";

export function dockService(
  parts: EnrolParts & { readonly tenants: Tenants; readonly fleet: Fleet },
): Handlers<typeof DockService> {
  const { tenants, fleet, crypto } = parts;
  const { method } = DockService;
  return {
    enrol: enrolment(parts),

    async dock(request) {
      const signed = kept(believed(fromWire(request.genesis, "genesis")));
      const said = peek(GenesisBody, signed, "genesis");
      const tenant = tenants.get(said.tenantId);
      const dock = tenant?.dock(said.dockRef) ?? null;
      if (tenant === null || dock === null) throw notFound("dock");
      const genesis = believed(verifyGenesis(crypto, signed, dock.artifact));
      const berth = berthOf(tenant, dock);
      const { organisms } = await fleet.of(tenant);

      const { done } = await tenant.exclusive(async () => {
        // The same genesis again is the same ledger, whatever has changed since.
        if (tenant.ledger(genesis.ref) !== null) return { done: tenant.settled() };
        if (isSpent(dock, genesis.body)) return { done: alarm(tenant, dock, genesis) };
        mayOpen(tenant, organisms, genesis, berth);
        const entries = [{ what: "genesis", artifact: genesis } as const];
        return {
          done: tenant.record({ entries, asked: { method: "dragons.v1.DockService/Dock" } }),
        };
      });
      await done;
      return {
        ledgerId: genesis.ref,
        keyset: toWire(tenant.keyset().signed),
        grant: toWire(berth.grant.artifact.signed),
        dock: toWire(dock.artifact.signed),
        manifest: berth.manifest.artifact.bytes,
      };
    },

    recordDock(request, context) {
      const operator = operatorOf(context);
      const { tenant } = operator;
      return mutation(method.recordDock, operator, request, async () => {
        const signed = believed(fromWire(request.dock, "dock"));
        const grant = tenant.grant(peek(DockBody, signed, "dock").grantRef);
        if (grant === null) {
          throw new StatusError(
            "FAILED_PRECONDITION",
            "E_REF",
            "dock.grant_ref: no such grant is recorded; record it first",
          );
        }
        const dock = believed(
          verifyDock(crypto, signed, tenant.keyset(), grant.artifact, tenant.nowUs()),
        );
        notByRevoked(tenant, "dock", signed);
        notOver("dock", dock.body, tenant.nowUs());
        if (dock.body.notAfterUs - dock.body.notBeforeUs > dockTtlMaxUs) {
          const days = dockTtlMaxUs / (24 * 3_600_000_000);
          throw badArgument("dock.not_after_us", `a dock is open for ${days} days at most`);
        }
        notRetired(tenant, grant.artifact.body.manifestHash);
        const known = tenant.dock(dock.ref);
        const { dockId } = dock.body;
        if (known === null && [...tenant.docks()].some((d) => d.artifact.body.dockId === dockId)) {
          throw new StatusError(
            "ALREADY_EXISTS",
            "ALREADY_RECORDED",
            `dock.dock_id: ${dockId} is another dock; choose a new id and sign again`,
          );
        }
        return {
          entries: known === null ? [{ what: "dock", artifact: dock }] : [],
          answer: (revision) => ({
            dockId,
            dockRef: dock.ref,
            revision: BigInt(known?.seq ?? revision),
          }),
        };
      });
    },

    async listDocks(request, context) {
      const { tenant } = operatorOf(context);
      const page = pageBySeq(method.listDocks, request, tenant.docks(), (d) => d.seq);
      const docks = page.items.map(({ artifact, opened }) => ({
        dockId: artifact.body.dockId,
        dockRef: artifact.ref,
        grantRef: artifact.body.grantRef,
        notAfterUs: BigInt(artifact.body.notAfterUs),
        ledgers: BigInt([...opened.values()].reduce((sum, n) => sum + n, 0)),
        signed: toWire(artifact.signed),
      }));
      await tenant.settled();
      return { docks, nextPageToken: page.nextPageToken };
    },
  };
}

/** What a ledger under this dock would work by. */
interface Berth {
  readonly dock: DockRecord;
  readonly grant: GrantRecord;
  readonly manifest: ManifestRecord;
}

function berthOf(tenant: Tenant, dock: DockRecord): Berth {
  const grant = tenant.grant(dock.artifact.body.grantRef);
  const manifest = grant === null ? null : tenant.manifest(grant.artifact.body.manifestHash);
  // A dock is recorded only after its grant, and a grant only after its manifest.
  if (grant === null || manifest === null) throw new Error("a dock without grant or manifest");
  return { dock, grant, manifest };
}

/** How many ledgers a join key of this dock may open. */
const ledgersMax = ({ artifact }: DockRecord, joinKey: Uint8Array): number =>
  artifact.body.joinKeys.find((k) => equal(k.key, joinKey))?.ledgersMax ?? 0;

const isSpent = (dock: DockRecord, { joinKey }: GenesisBody): boolean =>
  (dock.opened.get(toHex(joinKey)) ?? 0) >= ledgersMax(dock, joinKey);

/**
 * Whoever signs with a join key that is spent has a token that somebody else has, too; which of the
 * two came first, nobody can tell from here. So it is refused, and put before people. Each genesis
 * once, and so many of a key: whoever found a token must not fill the tenant's ledger with it.
 */
async function alarm(
  tenant: Tenant,
  dock: DockRecord,
  { body, signed }: Verified<GenesisBody>,
): Promise<never> {
  const { dockRef, joinKey } = body;
  const known = dock.refused.get(toHex(joinKey));
  if (!known?.has(toHex(signed.body)) && (known?.size ?? 0) < joinKeyAlarmsMax) {
    const artifact: Alarm = {
      version: 1,
      kind: "JOIN_KEY_SPENT",
      dockRef,
      joinKey,
      genesis: signed,
      transition: SignedBytes.empty(),
    };
    const entries = [{ what: "alarm", artifact } as const];
    await tenant.record({ entries, asked: { method: "dragons.v1.DockService/Dock" } });
  }
  throw refused(
    "QUOTA_REACHED",
    `this join key has opened its ${ledgersMax(dock, joinKey)} ledgers; ask for a new join token`,
  );
}

/** Whether a new ledger may be opened now. Throws why not. */
function mayOpen(
  tenant: Tenant,
  organisms: Organisms,
  genesis: Verified<GenesisBody>,
  berth: Berth,
): void {
  const { body } = genesis;
  const { dock, grant } = berth;
  const nowUs = tenant.nowUs();
  if (!equal(body.manifestHash, grant.artifact.body.manifestHash)) {
    const known = tenant.manifest(body.manifestHash) !== null;
    throw new StatusError(
      "FAILED_PRECONDITION",
      known ? "E_MANIFEST" : "MANIFEST_NOT_RECORDED",
      `genesis.manifest_hash: the grant of this dock is for ${toHex(grant.artifact.body.manifestHash)}`,
    );
  }
  const window = dock.artifact.body;
  if (nowUs < window.notBeforeUs || nowUs >= window.notAfterUs) {
    throw refused("E_EXPIRED", "this dock is not open now; ask an operator for a new join token");
  }
  const { notAfterUs, instancesMax } = grant.artifact.body;
  notRetired(tenant, body.manifestHash);
  const revoked =
    grant.revokedEpoch !== 0 ||
    tenant.stoppedEpoch() !== 0 ||
    tenant.revokedEpoch("KEY", body.joinKey) !== 0 ||
    tenant.byRevokedKey(grant.artifact.signed) ||
    tenant.byRevokedKey(dock.artifact.signed);
  if (revoked || nowUs >= notAfterUs) {
    throw new StatusError(
      "FAILED_PRECONDITION",
      revoked ? "E_REVOKED" : "E_EXPIRED",
      "this dock, its grant, a key that they rest on or the whole tenant is no longer in force",
    );
  }
  maySucceed(tenant, body);
  // Each docking would look at all that docked before it: only where there are many is it worth it.
  if (tenant.instancesMost(grant.artifact.ref) < instancesMax) return;
  const others = tenant
    .instancesUnder(grant.artifact.ref)
    .filter((l) => l.instanceId !== body.instanceId)
    .filter((l) => takesPlace(organisms.view(l.instanceId), organisms.listenedUs, nowUs));
  if (others.length >= instancesMax) {
    throw new StatusError(
      "FAILED_PRECONDITION",
      "QUOTA_REACHED",
      `the grant allows ${instancesMax} instances at once, and as many are aboard`,
      { instances_max: `${instancesMax}` },
    );
  }
}

/** An instance's first ledger has no predecessor; each further one names the one before. */
function maySucceed(tenant: Tenant, { instanceId, predecessor }: GenesisBody): void {
  const before = tenant.instance(instanceId);
  if (!equal(predecessor, before?.ledgerId ?? new Uint8Array(0))) {
    throw badArgument(
      "genesis.predecessor",
      "must be the newest ledger of this instance, and absent for its first",
    );
  }
  if (before?.state === "STOPPED") {
    throw new StatusError("FAILED_PRECONDITION", "STOPPED", "this instance has stopped for good");
  }
  if (before !== null && before.revokedEpoch !== 0) {
    throw new StatusError("FAILED_PRECONDITION", "E_REVOKED", "this instance was revoked");
  }
}

const refused = (reason: "E_EXPIRED" | "QUOTA_REACHED", detail: string): StatusError =>
  new StatusError("PERMISSION_DENIED", reason, detail);
