import { compare } from "../../domain/bytes.ts";
import type { Crypto } from "../../domain/crypto.ts";
import { GrantBody, verifyGrant } from "../../domain/grant.ts";
import { RevocationBody, verifyRevocation } from "../../domain/revocation.ts";
import type { SignedBytes } from "../../domain/signed.ts";
import { GrantService } from "../../gen/dragons/v1/authority_pb.ts";
import { fromWire, toWire } from "../../wire/artifacts.ts";
import type { Handlers } from "../../wire/rpc.ts";
import { StatusError } from "../../wire/status.ts";
import { operatorOf } from "../auth.ts";
import type { GrantRecord } from "../projection.ts";
import {
  believed,
  mutation,
  notByRevoked,
  notFound,
  notOver,
  notRetired,
  pageBySeq,
  peek,
} from "./requests.ts";

export function grantService(crypto: Crypto): Handlers<typeof GrantService> {
  const { method } = GrantService;
  return {
    recordGrant(request, context) {
      const operator = operatorOf(context);
      const { tenant } = operator;
      return mutation(method.recordGrant, operator, request, async () => {
        const signed = believed(fromWire(request.grant, "grant"));
        const manifest = tenant.manifest(peek(GrantBody, signed, "grant").manifestHash);
        if (manifest === null) {
          throw new StatusError(
            "FAILED_PRECONDITION",
            "MANIFEST_NOT_RECORDED",
            "grant.manifest_hash: no such manifest is recorded; record it first",
          );
        }
        const grant = believed(
          verifyGrant(crypto, signed, tenant.keyset(), manifest.artifact.body, tenant.nowUs()),
        );
        notByRevoked(tenant, "grant", signed);
        notOver("grant", grant.body, tenant.nowUs());
        notRetired(tenant, grant.body.manifestHash);
        const { grantId } = grant.body;
        const known = tenant.grantById(grantId);
        if (known !== null && compare(known.artifact.ref, grant.ref) !== 0) {
          throw new StatusError(
            "ALREADY_EXISTS",
            "ALREADY_RECORDED",
            `grant.grant_id: ${grantId} is another grant; choose a new id and sign again`,
          );
        }
        return {
          entries: known === null ? [{ what: "grant", artifact: grant }] : [],
          answer: (revision) => ({
            grantId,
            grantRef: grant.ref,
            revision: BigInt(known?.seq ?? revision),
          }),
        };
      });
    },

    async getGrant({ grantId }, context) {
      const { tenant } = operatorOf(context);
      const found = tenant.grantById(grantId);
      if (found === null) throw notFound("grant");
      const grant = shown(found);
      await tenant.settled();
      return { grant };
    },

    async listGrants(request, context) {
      const { tenant } = operatorOf(context);
      const page = pageBySeq(method.listGrants, request, tenant.grants(), (g) => g.seq);
      const grants = page.items.map(shown);
      await tenant.settled();
      return { grants, nextPageToken: page.nextPageToken };
    },

    recordRevocation(request, context) {
      const operator = operatorOf(context);
      const { tenant } = operator;
      return mutation(method.recordRevocation, operator, request, async () => {
        const signed = believed(fromWire(request.revocation, "revocation"));
        const next = tenant.revocationEpoch() + 1;
        if (peek(RevocationBody, signed, "revocation").epoch !== next) throw taken(next);
        const revocation = believed(
          verifyRevocation(crypto, signed, tenant.keyset(), tenant.nowUs()),
        );
        const previous = tenant.revocations().at(-1)?.ref ?? new Uint8Array(0);
        if (compare(revocation.body.previous, previous) !== 0) throw taken(next);
        notByRevoked(tenant, "revocation", signed);
        return {
          entries: [{ what: "revocation", artifact: revocation }],
          answer: (revision) => ({ epoch: BigInt(next), revision: BigInt(revision) }),
        };
      });
    },

    async listRevocations(request, context) {
      const { tenant } = operatorOf(context);
      const all = tenant.revocations();
      const page = pageBySeq(method.listRevocations, request, all, (r) => r.body.epoch);
      await tenant.settled();
      return {
        revocations: page.items.map((r) => toWire(r.signed)),
        nextPageToken: page.nextPageToken,
      };
    },
  };
}

const taken = (next: number): StatusError =>
  new StatusError(
    "ABORTED",
    "EPOCH_TAKEN",
    `revocation.epoch: the next is ${next}, after the last one recorded: sign that`,
    { next_epoch: `${next}` },
  );

function shown({ artifact, revokedEpoch }: GrantRecord) {
  return {
    signed: toWire(artifact.signed satisfies SignedBytes),
    grantRef: artifact.ref,
    revokedEpoch: BigInt(revokedEpoch),
  };
}
