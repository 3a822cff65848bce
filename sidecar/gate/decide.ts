import { authorize, type Subject } from "../../src/domain/authorize.ts";
import { compileScopes } from "../../src/domain/scope.ts";
import type { HeldAuthority } from "../identity/held-authority.ts";
import type { Decide } from "./authority.ts";

/** The domain's decision for one instance, its manifest's rules compiled once. */
export function authorityDecider(authority: HeldAuthority): Decide {
  const { tenantId, instanceId } = authority.genesis.body;
  const subject: Subject = {
    tenantId,
    instanceId,
    ledgerId: authority.genesis.ref,
    manifestHash: authority.manifestHash,
    scopes: compileScopes(authority.manifest),
    granted: authority.grant.body.scopes,
  };
  return (held, claim, nowUs) => authorize({ subject, ...held }, claim, nowUs);
}
