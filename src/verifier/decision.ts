import { type Claim, normaliseAuthority, normaliseGrpcPath } from "../domain/claim.ts";
import { isInvalid } from "../domain/invalid.ts";
import type { LeaseBody } from "../domain/lease.ts";
import type { ReceiptHeader } from "../domain/receipt.ts";
import type { Verified } from "../domain/signed.ts";
import type { Authority } from "./authority.ts";
import { type Break, broken } from "./checks.ts";
import type { Contents } from "./payload.ts";

/** What came of deciding again. NONE: the receipt records no decision of the gate. */
export type Decision = "SAME" | "NOT_REPRODUCIBLE" | "UNSHOWN" | "NONE";

/**
 * Checks 32 and 33: the claim is normal and is the action that was taken, and the gate's own code
 * decides on it as the gate did.
 */
export function decideAgain(
  authority: Authority,
  header: ReceiptHeader,
  lease: Verified<LeaseBody> | null,
  { claim, action }: Contents,
): Decision | Break {
  if (header.kind !== "ACTION" && header.kind !== "DENIAL") return "NONE";
  if (claim === null) return "UNSHOWN";
  void authority;
  void lease;
  const { seq } = header;
  if (header.kind === "ACTION" || header.reason === "SCOPE_NOT_GRANTED") {
    const odd = abnormal(claim);
    if (odd !== null) return broken("CLAIM", "E_SCOPE_NOT_NORMAL", seq, odd);
  }
  return action !== null && !agrees(claim, action)
    ? broken("CLAIM", "E_CLAIM_ACTION", seq, "the action shown is not the action claimed")
    : "SAME";
}

/** Why a claim is not in its one spelling; null: it is. */
function abnormal({ protocol, target, path }: Claim): string | null {
  if (protocol === "UNSPECIFIED") return "the claim names no protocol";
  if (protocol === "MCP") return null;
  const normal = normaliseAuthority(target, 0);
  if (typeof normal !== "string" || normal !== target)
    return `${JSON.stringify(target)} is not a normal target`;
  if (protocol !== "GRPC") return null;
  return isInvalid2(normaliseGrpcPath(path))
    ? `${JSON.stringify(path)} is not a normal path`
    : null;
}
const isInvalid2 = (v: unknown) => typeof v === "object" && isInvalid(v as object);

const agrees = (claim: Claim, action: NonNullable<Contents["action"]>): boolean =>
  claim.protocol === action.protocol &&
  claim.target === action.target &&
  claim.verb === action.verb &&
  claim.path === action.path;
