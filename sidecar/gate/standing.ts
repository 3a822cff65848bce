import type { Reason } from "../../src/domain/reason.ts";
import type { AuthorityHolder } from "./authority.ts";

/** Why nothing is permitted now, in the order in which the gate looks; UNSPECIFIED: authority is held. */
export function standingReason(holder: AuthorityHolder): Reason {
  const { manifestRecorded, retired, drifted, quarantined, stopped, revoked } = holder.standing;
  if (!manifestRecorded) return "MANIFEST_NOT_RECORDED";
  if (retired) return "MANIFEST_RETIRED";
  if (drifted) return "MANIFEST_DRIFT";
  if (quarantined) return "QUARANTINED";
  if (stopped) return "STOPPED";
  if (holder.lease === null) return "NO_LEASE";
  if (revoked) return "LEASE_REVOKED";
  return holder.autonomyLeftUs === 0 ? "LEASE_EXPIRED" : "UNSPECIFIED";
}
