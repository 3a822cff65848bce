import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { equal, toHex } from "../../domain/bytes.ts";
import type { Crypto, Signer } from "../../domain/crypto.ts";
import { controlLedgerKey, type KeysetBody, verifyKeyset } from "../../domain/keyset.ts";
import { CreateTenantResponseSchema, TenantService } from "../../gen/dragons/v1/authority_pb.ts";
import type { Clock } from "../../native/clock.ts";
import { fromWire } from "../../wire/artifacts.ts";
import type { Handlers } from "../../wire/rpc.ts";
import { StatusError } from "../../wire/status.ts";
import { keysOfRole, OUR_ROLES, type TenantKeys } from "../tenant-keys.ts";
import type { Tenants } from "../tenants.ts";
import {
  badArgument,
  believed,
  exactBytes,
  methodName,
  once,
  pageByName,
  requestKey,
} from "./requests.ts";

const TENANT_ID = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Requests of the owner, who has no key of their own. */
const OWNER = new Uint8Array(0);

export function tenantService(
  tenants: Tenants,
  { crypto, clock, ca }: { crypto: Crypto; clock: Clock; ca: Uint8Array },
): Handlers<typeof TenantService> {
  const { method } = TenantService;
  return {
    async prepareTenant({ tenantId }) {
      const keys = await tenants.prepare(checkTenantId(tenantId));
      return {
        issuerKey: newest(keys.issuer),
        cosignerKey: newest(keys.cosigner),
        controlLedgerKey: newest(keys.controlLedger),
      };
    },

    async createTenant(request) {
      const tenantId = checkTenantId(request.tenantId);
      const key = requestKey(method.createTenant, OWNER, request);
      const rootKey = exactBytes(request.rootKey, "root_key");
      const existing = tenants.get(tenantId);
      if (existing !== null) {
        const answered = await once(() => existing.answered(key));
        if (answered === null) throw exists(tenantId);
        return fromBinary(CreateTenantResponseSchema, answered);
      }
      const signed = believed(fromWire(request.keyset, "keyset"));
      const keyset = believed(verifyKeyset(crypto, signed, rootKey, 1));
      if (keyset.body.tenantId !== tenantId) {
        throw badArgument("keyset", `is of tenant ${keyset.body.tenantId}, not ${tenantId}`);
      }
      if (keyset.body.keysetVersion !== 1) {
        throw badArgument("keyset", "the first keyset has keyset_version 1");
      }
      namesOurCa(keyset.body, ca);
      namesOurKeys(keyset.body, await tenants.prepare(tenantId), clock.nowUs());
      const asked = { method: methodName(method.createTenant), requestId: request.requestId };
      const answer = (revision: number) =>
        toBinary(
          CreateTenantResponseSchema,
          create(CreateTenantResponseSchema, { tenantId, revision: BigInt(revision) }),
        );
      const answered = await tenants.create({ rootKey, keyset, asked }, key, answer);
      if (answered === null) throw exists(tenantId);
      return fromBinary(CreateTenantResponseSchema, answered);
    },

    async listTenants(request) {
      const all = tenants.all();
      const { items, nextPageToken } = pageByName(
        method.listTenants,
        request,
        all,
        (t) => t.tenantId,
      );
      await tenants.settled();
      return {
        tenants: items.map((t) => ({
          tenantId: t.tenantId,
          rootKey: t.rootKey,
          keysetVersion: BigInt(t.keyset().body.keysetVersion),
        })),
        nextPageToken,
      };
    },
  };
}

function checkTenantId(tenantId: string): string {
  if (!TENANT_ID.test(tenantId)) {
    throw badArgument(
      "tenant_id",
      "must be 1 to 63 of a-z, 0-9 and hyphen, with no hyphen at an end",
    );
  }
  return tenantId;
}

const exists = (tenantId: string): StatusError =>
  new StatusError("ALREADY_EXISTS", "ALREADY_RECORDED", `tenant ${tenantId} exists`);

const newest = (signers: readonly Signer[]): Uint8Array => (signers.at(-1) as Signer).publicKey;

/** Where a keyset names authorities, sidecars believe no other: not without the one in use, DER. */
export function namesOurCa({ controlCas }: KeysetBody, ca: Uint8Array): void {
  if (controlCas.length === 0 || controlCas.some((named) => equal(named, ca))) return;
  throw badArgument(
    "keyset",
    "control_cas must name the authority of this control plane's certificate, or its sidecars are cut off; " +
      "take all that are in its ca.pem: dragons key rotate control-ca",
  );
}

/** A keyset must let the control plane speak for the tenant: for each of its roles a key of ours, now. */
export function namesOurKeys(keyset: KeysetBody, keys: TenantKeys, nowUs: number): void {
  for (const role of OUR_ROLES) {
    const held = keysOfRole(keys, role).map((s) => toHex(s.publicKey));
    const named = keyset.keys.filter((k) => k.role === role && held.includes(toHex(k.key)));
    if (named.length === 0) {
      throw badArgument(
        "keyset",
        `must name this control plane's ${role} key ${held.at(-1)} (PrepareTenant and PrepareKey tell it)`,
      );
    }
    const speaks = named.some(
      (k) =>
        nowUs >= k.notBeforeUs &&
        nowUs < k.notAfterUs &&
        (k.compromisedFromUs === 0 || nowUs < k.compromisedFromUs),
    );
    if (!speaks) {
      throw badArgument(
        "keyset",
        `the interval of a ${role} key of this control plane must hold now, and it must not be compromised; ` +
          "rotate it in the same keyset",
      );
    }
  }
  const next = controlLedgerKey(keyset);
  if (next === null || keys.controlLedger.every((s) => !equal(s.publicKey, next))) {
    throw badArgument(
      "keyset",
      "the CONTROL_LEDGER key that begins last signs what this control plane records, and must be one of its own",
    );
  }
}
