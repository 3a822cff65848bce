import { purposeMax } from "../../domain/limits.ts";
import { isPrintable } from "../../domain/printable.ts";
import { LeaseService } from "../../gen/dragons/v1/authority_pb.ts";
import { toWire } from "../../wire/artifacts.ts";
import type { Handlers } from "../../wire/rpc.ts";
import { StatusError } from "../../wire/status.ts";
import { operatorOf } from "../auth.ts";
import type { Fleet } from "../fleet.ts";
import type { LeaseRecord, LedgerRecord } from "../projection.ts";
import type { Tenant } from "../tenant.ts";
import { badArgument, mutation, notFound, pageBySeq } from "./requests.ts";

export function leaseService(fleet: Fleet): Handlers<typeof LeaseService> {
  const { method } = LeaseService;
  return {
    /** Those that hold now, in the order in which their ledgers were opened. */
    async listLeases(request, context) {
      const { tenant } = operatorOf(context);
      const { issuer } = await fleet.of(tenant);
      const nowUs = tenant.nowUs();
      const holding = [...tenant.ledgers()].filter((l) => currentOf(l, nowUs) !== null);
      const page = pageBySeq(method.listLeases, request, holding, (l) => l.seq);
      // Page by page, since a grant is verified for each: a page may come short.
      const held = page.items.filter((l) => !issuer.isTakenBack(l, nowUs));
      const leases = held.map((l) => shown(l.lease as LeaseRecord));
      await tenant.settled();
      return { leases, nextPageToken: page.nextPageToken };
    },

    async getLease({ leaseId }, context) {
      const { tenant } = operatorOf(context);
      const found = await tenant.leaseById(leaseId);
      if (found === null) throw notFound("lease");
      const lease = shown(found);
      await tenant.settled();
      return { lease };
    },

    revokeLease(request, context) {
      const operator = operatorOf(context);
      const { tenant } = operator;
      if (request.reason.length > purposeMax || !isPrintable(request.reason)) {
        throw badArgument("reason", `must be printable text of at most ${purposeMax} characters`);
      }
      return mutation(method.revokeLease, operator, request, async () => {
        const lease = meant(tenant, request);
        if (lease.revokedEpoch !== 0) {
          throw new StatusError(
            "FAILED_PRECONDITION",
            "STATE_UNFIT",
            `lease ${lease.terms.leaseId} was revoked already, by epoch ${lease.revokedEpoch}`,
          );
        }
        const revocation = await tenant.issueRevocation({
          target: lease.artifact.ref,
          reason: request.reason,
        });
        return {
          // Sessions hear of it from the tenant once it is durable, and push it to the sidecar.
          entries: [{ what: "revocation", artifact: revocation }],
          answer: () => ({
            epoch: BigInt(revocation.body.epoch),
            revocation: toWire(revocation.signed),
          }),
        };
      });
    },
  };
}

function currentOf({ lease }: LedgerRecord, nowUs: number): LeaseRecord | null {
  if (lease === null || lease.revokedEpoch !== 0) return null;
  const { notBeforeUs, notAfterUs } = lease.terms;
  return nowUs >= notBeforeUs && nowUs < notAfterUs ? lease : null;
}

/** The lease that a request names: by its id, or as what an instance holds now. */
function meant(tenant: Tenant, request: { leaseId: string; instanceId: string }): LeaseRecord {
  const { leaseId, instanceId } = request;
  if ((leaseId === "") === (instanceId === "")) {
    throw badArgument("lease_id", "give either lease_id or instance_id");
  }
  const lease =
    leaseId !== "" ? tenant.lease(leaseId) : (tenant.instance(instanceId)?.lease ?? null);
  if (lease === null) throw notFound(leaseId !== "" ? "current lease" : "instance with a lease");
  if (tenant.nowUs() >= lease.terms.notAfterUs) {
    throw new StatusError(
      "FAILED_PRECONDITION",
      "LEASE_EXPIRED",
      `lease ${lease.terms.leaseId} has ended by itself`,
    );
  }
  return lease;
}

function shown({ artifact, revokedEpoch }: Pick<LeaseRecord, "artifact" | "revokedEpoch">) {
  return {
    signed: toWire(artifact.signed),
    leaseRef: artifact.ref,
    revokedEpoch: BigInt(revokedEpoch),
  };
}
