import { toHex } from "../../domain/bytes.ts";
import type { Signer } from "../../domain/crypto.ts";
import { controlKeyTtlUs } from "../../domain/limits.ts";
import { type Control, pages, requestId } from "../client.ts";
import { entryOf, type NewKey, signKeyset, sorted } from "./operator.ts";
import type { Outlet } from "./proposal.ts";
import { revoke } from "./revocation.ts";

export interface TenantView {
  readonly tenant: string;
  /** Hex. */
  readonly rootKey: string;
  readonly keysetVersion: number;
}

/**
 * Founds a tenant: the control plane makes its own three keys, the root signs keyset 1 that names them
 * beside the operators' keys, and both are recorded. `control` must be the owner's.
 */
export async function createTenant(
  control: Control,
  tenant: { readonly tenantId: string; readonly root: Signer; readonly keys: readonly NewKey[] },
): Promise<TenantView> {
  const { tenantId, root } = tenant;
  const nowUs = control.clock.nowUs();
  const made = await control.tenants.prepareTenant({ tenantId });
  const theirs = (role: NewKey["role"], key: Uint8Array): NewKey => ({
    role,
    key,
    holder: "control plane",
    ttlUs: controlKeyTtlUs,
  });
  const keys = [
    ...tenant.keys,
    theirs("ISSUER", made.issuerKey),
    theirs("COSIGNER", made.cosignerKey),
    theirs("CONTROL_LEDGER", made.controlLedgerKey),
  ];
  const keyset = await signKeyset(
    {
      version: 1,
      tenantId,
      keysetVersion: 1,
      issuedAtUs: nowUs,
      keys: sorted(keys.map((k) => entryOf(k, nowUs))),
      thresholds: [],
      previous: new Uint8Array(0),
      rootKey: new Uint8Array(0),
      controlCas: [],
    },
    root,
  );
  await control.tenants.createTenant({
    requestId: requestId(),
    tenantId,
    rootKey: root.publicKey,
    keyset,
  });
  return { tenant: tenantId, rootKey: toHex(root.publicKey), keysetVersion: 1 };
}

/** Every tenant of a control plane; `control` must be the owner's. */
export async function listTenants(control: Control): Promise<TenantView[]> {
  const all: TenantView[] = [];
  for await (const page of pages((pageToken) => control.tenants.listTenants({ pageToken }))) {
    for (const t of page.tenants) {
      const keysetVersion = Number(t.keysetVersion);
      all.push({ tenant: t.tenantId, rootKey: toHex(t.rootKey), keysetVersion });
    }
  }
  return all;
}

/** Stops the world: every lease of the tenant ends now, and none is cut until it is resumed. */
export const stopTenant = (
  control: Control,
  signers: readonly Signer[],
  { reason }: { readonly reason: string },
  outlet?: Outlet,
): Promise<{ readonly epoch: number }> =>
  revoke(control, signers, { kind: "TENANT", target: new Uint8Array(0), reason }, outlet);

/**
 * Lets a tenant lease again: after it was stopped, or after its control plane was restored from a
 * backup, when operators have revoked again what was revoked since. Signed with their grant keys.
 */
export const resumeTenant = (
  control: Control,
  signers: readonly Signer[],
  { reason }: { readonly reason: string },
  outlet?: Outlet,
): Promise<{ readonly epoch: number }> =>
  revoke(control, signers, { kind: "RESUME", target: new Uint8Array(0), reason }, outlet);
