import { actionText } from "../../domain/action-text.ts";
import { type Allowed, authorize, type Refused } from "../../domain/authorize.ts";
import { toHex } from "../../domain/bytes.ts";
import { GrantBody } from "../../domain/grant.ts";
import type { Input } from "../../domain/input.ts";
import { LeaseBody } from "../../domain/lease.ts";
import { ManifestBody, manifestHash, manifestLabel } from "../../domain/manifest.ts";
import { RENDERINGS, type Reason } from "../../domain/reason.ts";
import type { Rule } from "../../domain/rule.ts";
import { compileScopes } from "../../domain/scope.ts";
import { pae, type Verified } from "../../domain/signed.ts";
import { refOf } from "../../domain/signing.ts";
import type { SignedBytes } from "../../gen/dragons/v1/artifacts_pb.ts";
import type { GetEntryResponse } from "../../gen/dragons/v1/evidence_pb.ts";
import { native } from "../../native/crypto.ts";
import type { SidecarClient } from "../client.ts";
import { EXIT, Failure } from "../failure.ts";
import { showRule, showTime } from "../units.ts";
import { type OpenReceipt, openReceipt } from "./receipt.ts";

/** Why an action was allowed or refused, from the artifacts of its own receipt. */
export interface Why {
  readonly receipt: OpenReceipt;
  /** What was asked; null: the claim was not kept. */
  readonly action: string | null;
  /** What conditions asked for, as the claim has it. */
  readonly inputs: readonly Input[];
  readonly manifest: string;
  readonly lease: {
    readonly leaseId: string;
    readonly ref: string;
    readonly scopes: readonly string[];
  } | null;
  readonly grant: {
    readonly grantId: string;
    readonly purpose: string;
    readonly signedBy: readonly string[];
  };
  /** `read:payments: grpc payments.v1.Payments/Get* at payments.internal:443`; null: none. */
  readonly rule: string | null;
  /** The clause that failed, or that nothing did. */
  readonly clause: string;
  /** What to write and to type so that it would be allowed; empty: nothing of the kind would help. */
  readonly remedy: string;
}

/** Asks the sidecar that made a receipt for it and all it rests on, and decides once more. */
export async function explainReceipt({ evidence }: SidecarClient, receiptId: string): Promise<Why> {
  const answer = await evidence.getEntry({ receiptId });
  if (answer.entry === undefined || answer.grant === undefined) {
    throw new Failure(EXIT.failed, `receipt ${receiptId}: the sidecar has not all of it`);
  }
  const receipt = openReceipt(answer.entry);
  checkSignature(answer.entry.receipt as SignedBytes, receipt);
  const manifest = ManifestBody.decode(answer.manifest);
  const grant = GrantBody.decode(answer.grant.body);
  const lease = leaseOf(answer);
  const { claim } = receipt.contents;
  return {
    receipt,
    action: claim === null ? null : actionText(claim),
    inputs: claim?.inputs ?? [],
    manifest: manifestLabel(manifest),
    lease: lease && {
      leaseId: lease.body.leaseId,
      ref: toHex(lease.ref),
      scopes: lease.body.scopes.map((s) => s.name),
    },
    grant: {
      grantId: grant.grantId,
      purpose: grant.purpose,
      signedBy: answer.grant.signatures.map((s) => toHex(s.key)),
    },
    ...decided(receipt, answer.manifest, grant, lease),
  };
}

function checkSignature(signed: SignedBytes, { receiptId }: OpenReceipt): void {
  const [signature] = signed.signatures;
  const message = pae("receipt", signed.body);
  const holds = signature && native.verify(signature.key, message, signature.value);
  if (!holds)
    throw new Failure(EXIT.refused, `receipt ${receiptId}: its signature does not verify`);
}

function leaseOf({ lease }: GetEntryResponse): Verified<LeaseBody> | null {
  if (lease === undefined) return null;
  const { body, signatures } = lease;
  const signed = { body, signatures: signatures.map(({ key, value }) => ({ key, value })) };
  return { body: LeaseBody.decode(body), signed, ref: refOf(native, "lease", body) };
}

/** The gate's own code, on the claim as it stood when the action was opened. */
function decided(
  { header, contents: { claim } }: OpenReceipt,
  manifestBytes: Uint8Array,
  grant: GrantBody,
  lease: Verified<LeaseBody> | null,
): Pick<Why, "rule" | "clause" | "remedy"> {
  const said = header.reason === "UNSPECIFIED" ? "" : RENDERINGS[header.reason].sentence;
  if (claim === null) {
    const clause = `${said} No claim was kept, so it cannot be decided again.`.trim();
    return { rule: null, clause, remedy: "" };
  }
  const scopes = compileScopes(ManifestBody.decode(manifestBytes));
  const subject = {
    tenantId: header.tenantId,
    instanceId: lease?.body.instanceId ?? "",
    ledgerId: header.ledgerId,
    manifestHash: manifestHash(native, manifestBytes),
    scopes,
    granted: grant.scopes,
  };
  const authority = {
    subject,
    manifestRecorded: header.reason !== "MANIFEST_NOT_RECORDED",
    retired: header.reason === "MANIFEST_RETIRED",
    drifted: header.reason === "MANIFEST_DRIFT",
    quarantined: header.reason === "QUARANTINED",
    stopped: header.reason === "STOPPED",
    lease,
    revoked: header.reason === "LEASE_REVOKED",
    overdue: header.reason === "LEASE_EXPIRED",
  };
  const decision = authorize(authority, claim, header.openedAtUs);
  if (!decision.allowed && decision.reason === header.reason) return refused(decision);
  // What else stood in the way is not in the claim: the request itself, the ledger.
  if (header.kind === "DENIAL" || !decision.allowed)
    return { rule: null, clause: said, remedy: "" };
  return permitted(decision, header.reason, lease);
}

function permitted(
  { scope, rule, wouldDeny }: Allowed,
  reason: Reason,
  lease: Verified<LeaseBody> | null,
): Pick<Why, "rule" | "clause" | "remedy"> {
  const until =
    lease === null ? "" : ` by a lease that held until ${showTime(lease.body.notAfterUs)}`;
  const ended =
    reason === "UNSPECIFIED" ? "" : `; what ended it was ${reason}: ${RENDERINGS[reason].sentence}`;
  const clause =
    wouldDeny === null
      ? `${scope} allowed it${until}`
      : `WOULD_DENY ${wouldDeny.reason}: ${wouldDeny.detail}; it passed since its grant merely observes`;
  return {
    rule: rule && ruleText(scope, rule),
    clause: clause + ended,
    remedy: wouldDeny?.remedy ?? "",
  };
}

const refused = ({
  scope,
  rule,
  detail,
  remedy,
}: Refused): Pick<Why, "rule" | "clause" | "remedy"> => ({
  rule: rule && ruleText(scope, rule),
  clause: detail,
  remedy,
});

const ruleText = (scope: string, rule: Rule): string => `${scope}: ${showRule(rule)}`;
