import { bytes, message, oneOf, str, u32, u64 } from "./canonical.ts";
import type { SignedKind } from "./signed.ts";

export const DIRECTIVE_KINDS = [
  "UNSPECIFIED",
  "QUARANTINE",
  "RELEASE",
  "STOP",
  "RESYNC",
  "RESTART_AGENT",
  "REATTACH",
] as const;

/** What the control plane tells one sidecar to do. Signed by the issuer; fenced by sessionEpoch. */
export const DirectiveBody = message("directive", {
  version: u32(1),
  directiveId: str(2),
  tenantId: str(3),
  instanceId: str(4),
  ledgerId: bytes(5, 32),
  sessionEpoch: u64(6),
  kind: oneOf(7, DIRECTIVE_KINDS),
  issuedAtUs: u64(8),
  expiresAtUs: u64(9),
  reason: str(10),
});
export type DirectiveBody = ReturnType<typeof DirectiveBody.decode>;

export const DIRECTIVE: SignedKind<DirectiveBody> = { name: "directive", body: DirectiveBody };
