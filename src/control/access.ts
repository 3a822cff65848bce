import type { DescService } from "@bufbuild/protobuf";

/**
 * Who may call what: one row an RPC, so that none can be served without a decision about it.
 *
 * - OPEN: anybody: it tells nothing of any tenant.
 * - PROOF: sidecars that have no certificate yet. The request carries its own proof (a genesis, a
 *   signature by the ledger key), which its handler verifies.
 * - SIDECAR: whoever shows the client certificate of a ledger, and nobody with a token.
 * - BOOTSTRAP: the owner of this control plane, with the token that it wrote at its first start.
 * - VIEWER < OPERATOR < ADMIN: whoever the tenant's keyset gives at least that login role.
 */
export type Access = "OPEN" | "PROOF" | "SIDECAR" | "BOOTSTRAP" | "VIEWER" | "OPERATOR" | "ADMIN";

export const ACCESS: Readonly<Record<string, Access>> = {
  "dragons.v1.TenantService/PrepareTenant": "BOOTSTRAP",
  "dragons.v1.TenantService/CreateTenant": "BOOTSTRAP",
  "dragons.v1.TenantService/ListTenants": "BOOTSTRAP",
  "dragons.v1.KeyService/RecordKeyset": "ADMIN",
  "dragons.v1.KeyService/PrepareKey": "ADMIN",
  "dragons.v1.KeyService/GetKeyset": "VIEWER",
  "dragons.v1.ManifestService/RecordManifest": "OPERATOR",
  "dragons.v1.ManifestService/GetManifest": "VIEWER",
  "dragons.v1.ManifestService/ListManifests": "VIEWER",
  "dragons.v1.GrantService/RecordGrant": "OPERATOR",
  "dragons.v1.GrantService/GetGrant": "VIEWER",
  "dragons.v1.GrantService/ListGrants": "VIEWER",
  "dragons.v1.GrantService/RecordRevocation": "OPERATOR",
  "dragons.v1.GrantService/ListRevocations": "VIEWER",
  "dragons.v1.LeaseService/ListLeases": "VIEWER",
  "dragons.v1.LeaseService/GetLease": "VIEWER",
  "dragons.v1.LeaseService/RevokeLease": "OPERATOR",
  "dragons.v1.AuditService/ListRecords": "VIEWER",
  "dragons.v1.AuditService/GetCheckpoint": "VIEWER",
  "dragons.v1.AuditService/ExportRecords": "VIEWER",
  "dragons.v1.DockService/Dock": "PROOF",
  "dragons.v1.DockService/Enrol": "PROOF",
  "dragons.v1.DockService/RecordDock": "OPERATOR",
  "dragons.v1.DockService/ListDocks": "VIEWER",
  "dragons.v1.TetherService/Attach": "SIDECAR",
  "dragons.v1.LedgerService/Sync": "SIDECAR",
  "dragons.v1.LedgerService/ListReceipts": "VIEWER",
  "dragons.v1.LedgerService/GetReceipt": "VIEWER",
  "dragons.v1.LedgerService/WatchReceipts": "VIEWER",
  "dragons.v1.OrganismService/ListOrganisms": "VIEWER",
  "dragons.v1.OrganismService/GetOrganism": "VIEWER",
  "dragons.v1.OrganismService/Watch": "VIEWER",
  "dragons.v1.OrganismService/WatchPulse": "VIEWER",
  "dragons.v1.OrganismService/Quarantine": "OPERATOR",
  "dragons.v1.OrganismService/Release": "OPERATOR",
  "dragons.v1.OrganismService/Stop": "OPERATOR",
  "dragons.v1.OrganismService/ListTransitions": "VIEWER",
  "grpc.health.v1.Health/Check": "OPEN",
  "grpc.health.v1.Health/Watch": "OPEN",
  "grpc.reflection.v1.ServerReflection/ServerReflectionInfo": "OPEN",
};

/** @throws Error for an RPC without a row: a server with such a hole must not start. */
export function accessOf(service: DescService, method: string): Access {
  const name = `${service.typeName}/${method}`;
  const access = ACCESS[name];
  if (access === undefined) throw new Error(`${name} has no row in the table of access`);
  return access;
}
