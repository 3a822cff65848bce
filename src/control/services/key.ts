import { compare, equal, toHex } from "../../domain/bytes.ts";
import type { Crypto } from "../../domain/crypto.ts";
import { droppedKey, KEY_ROLES, verifyKeyset } from "../../domain/keyset.ts";
import { KeyService } from "../../gen/dragons/v1/authority_pb.ts";
import { fromWire, toWire } from "../../wire/artifacts.ts";
import type { Handlers } from "../../wire/rpc.ts";
import { StatusError } from "../../wire/status.ts";
import { operatorOf } from "../auth.ts";
import { OUR_ROLES, type OurRole } from "../tenant-keys.ts";
import type { Tenants } from "../tenants.ts";
import { badArgument, believed, mutation } from "./requests.ts";
import { namesOurCa, namesOurKeys } from "./tenant.ts";

export function keyService(
  tenants: Tenants,
  { crypto, ca }: { crypto: Crypto; ca: Uint8Array },
): Handlers<typeof KeyService> {
  const { method } = KeyService;
  return {
    recordKeyset(request, context) {
      const operator = operatorOf(context);
      const { tenant } = operator;
      return mutation(method.recordKeyset, operator, request, async () => {
        const current = tenant.keyset();
        const signed = believed(fromWire(request.keyset, "keyset"));
        const keyset = believed(
          verifyKeyset(crypto, signed, tenant.rootKey, current.body.keysetVersion + 1),
        );
        const { body } = keyset;
        if (body.tenantId !== tenant.tenantId) {
          throw badArgument("keyset", "is of another tenant");
        }
        if (
          body.keysetVersion !== current.body.keysetVersion + 1 ||
          compare(body.previous, current.ref) !== 0
        ) {
          throw new StatusError(
            "ABORTED",
            "CONFLICT",
            `keyset: must follow version ${current.body.keysetVersion}: read it and sign again`,
            { keyset_version: `${current.body.keysetVersion}` },
          );
        }
        // What is named already must not stand in the way of giving up a key.
        if (!same(body.controlCas, current.body.controlCas)) namesOurCa(body, ca);
        const dropped = droppedKey(current.body, body);
        if (dropped !== null) {
          throw badArgument(
            "keyset",
            `drops ${dropped.role} key ${toHex(dropped.key)}: what it signed would count no more; a key ends by ` +
              "its interval, or is marked as compromised",
          );
        }
        const held = await tenants.prepare(tenant.tenantId);
        namesOurKeys(body, held, tenant.nowUs());
        tenant.holdKeys(held);
        return {
          entries: [{ what: "keyset", artifact: keyset }],
          answer: (revision) => ({
            keysetVersion: BigInt(body.keysetVersion),
            revision: BigInt(revision),
          }),
        };
      });
    },

    // A key that nothing names says nothing yet: what is recorded is the keyset that names it.
    async prepareKey({ role }, context) {
      return { key: await tenants.prepareNext(operatorOf(context).tenant, ours(role)) };
    },

    async getKeyset(_, context) {
      const { tenant } = operatorOf(context);
      const { signed } = tenant.keyset();
      await tenant.settled();
      return { keyset: toWire(signed), rootKey: tenant.rootKey };
    },
  };
}

const same = (a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean =>
  a.length === b.length && a.every((one, i) => equal(one, b[i] as Uint8Array));

function ours(wire: number): OurRole {
  const role = OUR_ROLES.find((r) => r === KEY_ROLES[wire]);
  if (role !== undefined) return role;
  throw badArgument(
    "role",
    `must be one of ${OUR_ROLES.join(", ")}: whoever holds another key makes the next`,
  );
}
