import { bytes, message, oneOf, str, u32, u64 } from "./canonical.ts";
import type { Crypto } from "./crypto.ts";
import type { GenesisBody } from "./genesis.ts";
import { isId } from "./ids.ts";
import { type Invalid, isInvalid } from "./invalid.ts";
import { checkSigners, type KeysetBody } from "./keyset.ts";
import { purposeMax } from "./limits.ts";
import { isPrintable } from "./printable.ts";
import type { SignedBytes, SignedKind, Verified } from "./signed.ts";
import { checkIssued, cites, firstOf, must, openVersion1, sameTenant } from "./verify.ts";

const DIRECTIVE_KINDS = [
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

/** Whom a directive must be meant for. */
export interface DirectiveContext {
  readonly keyset: Verified<KeysetBody>;
  readonly genesis: Verified<GenesisBody>;
  /** Of the attachment that is in force: an older control plane's word, or one to a successor, is void. */
  readonly sessionEpoch: number;
  readonly nowUs: number;
}

/** Verifies that the issuer tells this very ledger, in this session, to do something now. */
export function verifyDirective(
  crypto: Crypto,
  signed: SignedBytes,
  { keyset, genesis, sessionEpoch, nowUs }: DirectiveContext,
): Verified<DirectiveBody> | Invalid {
  const opened = openVersion1(crypto, DIRECTIVE, signed);
  if (isInvalid(opened)) return opened;
  const { body, signers, verified } = opened;
  return (
    firstOf(
      () => sameTenant("directive.tenantId", body.tenantId, keyset.body.tenantId),
      () => sameTenant("genesis.tenantId", genesis.body.tenantId, keyset.body.tenantId),
      () => checkIssued("directive.issuedAtUs", body.issuedAtUs, nowUs),
      () =>
        checkSigners("directive", keyset, "ISSUER", signers, {
          signedAtUs: body.issuedAtUs,
          nowUs,
        }),
      () => must(isId("dir", body.directiveId), "E_FIELD", "directive.directiveId is not an id"),
      () => must(body.kind !== "UNSPECIFIED", "E_FIELD", "directive.kind is absent"),
      () => cites("directive.ledgerId", body.ledgerId, genesis.ref),
      () =>
        must(
          body.instanceId === genesis.body.instanceId,
          "E_LEDGER",
          `directive.instanceId is not of instance ${genesis.body.instanceId}`,
        ),
      () =>
        must(
          body.sessionEpoch === sessionEpoch,
          "E_ROLLBACK",
          `directive.sessionEpoch is ${body.sessionEpoch}, and ${sessionEpoch} is in force`,
        ),
      () =>
        must(
          body.reason.length <= purposeMax && isPrintable(body.reason),
          "E_FIELD",
          `directive.reason is not printable text of at most ${purposeMax} characters`,
        ),
      () =>
        must(
          nowUs < body.expiresAtUs,
          "E_EXPIRED",
          `directive ended at ${body.expiresAtUs}, and it is ${nowUs}`,
        ),
    ) ?? verified
  );
}
