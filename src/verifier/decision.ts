import { authorize } from "../domain/authorize.ts";
import { type Claim, normaliseAuthority, normaliseGrpcPath } from "../domain/claim.ts";
import { normaliseHttpPath } from "../domain/http-path.ts";
import { isId } from "../domain/ids.ts";
import { CONTINUES, type Input, inputsProblem } from "../domain/input.ts";
import { isInvalid } from "../domain/invalid.ts";
import type { LeaseBody } from "../domain/lease.ts";
import { isServerName } from "../domain/mcp-server.ts";
import type { Reason } from "../domain/reason.ts";
import type { ReceiptHeader } from "../domain/receipt.ts";
import type { Verified } from "../domain/signed.ts";
import { isInputName } from "../domain/when-parser.ts";
import type { Authority } from "./authority.ts";
import { type Break, broken } from "./checks.ts";
import type { Contents, Disclosed } from "./payload.ts";

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
  { data }: Disclosed,
): Decision | Break {
  if (header.kind !== "ACTION" && header.kind !== "DENIAL") return "NONE";
  // A denial of what could not even be read has an empty claim.
  if (claim === null) return data.claim === null ? "UNSHOWN" : "NOT_REPRODUCIBLE";
  // What was refused as abnormal may stand in its denial as it came.
  const judged = header.kind === "ACTION" || DECIDED.includes(header.reason);
  const odd = judged ? abnormality(claim) : null;
  if (odd !== null) return broken("CLAIM", "E_SCOPE_NOT_NORMAL", header.seq, odd);
  if (action !== null && !isActionOf(claim, action)) {
    return broken(
      "CLAIM",
      "E_CLAIM_ACTION",
      header.seq,
      "the action shown is not the action claimed",
    );
  }
  return replay(authority, header, lease, claim);
}

/** Reasons that rest on claim, manifest and lease alone, so that anyone decides alike. */
const DECIDED: readonly Reason[] = [
  "SCOPE_NOT_GRANTED",
  "CONDITION_FALSE",
  "CONDITION_UNEVALUABLE",
  "LIMIT_SPENT",
];

/** Asks the gate's own function, with everything that only the sidecar could know left favourable. */
function replay(
  { subject }: Authority,
  { seq, kind, scope, reason, wouldDeny, openedAtUs, intentSeq }: ReceiptHeader,
  lease: Verified<LeaseBody> | null,
  claim: Claim,
): Decision | Break {
  const favourable = {
    manifestRecorded: true,
    retired: false,
    drifted: false,
    quarantined: false,
    stopped: false,
    revoked: false,
    overdue: false,
  };
  const again = authorize({ subject, lease, ...favourable }, claim, openedAtUs);
  if (kind === "ACTION") {
    if (!again.allowed) return broken("DECISION", "E_SCOPE_EXCEEDED", seq, again.detail);
    if (again.scope !== scope) {
      return broken("DECISION", "E_SCOPE_EXCEEDED", seq, `${again.scope} permits it, not ${scope}`);
    }
    const observed = again.wouldDeny?.reason ?? "UNSPECIFIED";
    if (observed === wouldDeny) return "SAME";
    const what = `it would have been refused for ${observed}, and the receipt says ${wouldDeny}`;
    return broken("DECISION", "E_DECISION_DIFFERS", seq, what);
  }
  if (!again.allowed && again.reason === reason) return "SAME";
  // What had an intent was permitted first, and refused under a lease that came later.
  if (!DECIDED.includes(reason) || intentSeq > 0) return "NOT_REPRODUCIBLE";
  if (!again.allowed && !DECIDED.includes(again.reason)) return "NOT_REPRODUCIBLE";
  const what = again.allowed ? `${again.scope} permits it` : `it is ${again.reason}`;
  return broken("DECISION", "E_DECISION_DIFFERS", seq, `denied for ${reason}, though ${what}`);
}

/** Why a claim is not in its one spelling; null: it is. */
function abnormality({ protocol, target, verb, path, scheme, inputs }: Claim): string | null {
  if (protocol === "UNSPECIFIED") return "the claim names no protocol";
  const unsorted = inputsProblem(inputs);
  if (unsorted !== null) return unsorted;
  const unread = inputs.find((input) => !isInputName(input.name) && !isTrail(protocol, input));
  if (unread !== undefined) return `nothing reads its input ${JSON.stringify(unread.name)}`;
  if (protocol === "MCP") {
    if (scheme !== "UNSPECIFIED") return "the claim has a scheme, and MCP has none";
    return isServerName(target) ? null : `${JSON.stringify(target)} is not a server's name`;
  }
  if (scheme === "UNSPECIFIED") return "the claim does not say whether TLS was spoken";
  if (normaliseAuthority(target, 0) !== target) {
    return `${JSON.stringify(target)} is not a normal target`;
  }
  if (protocol === "OPAQUE") {
    const bare = verb === "" && path === "" && scheme === "HTTPS" && inputs.length === 0;
    return bare ? null : "the claim shows more of an opaque connection than there is to see";
  }
  const normal = protocol === "GRPC" ? normaliseGrpcPath(path) === path : isNormalHttpPath(path);
  return normal ? null : `${JSON.stringify(path)} is not a normal path`;
}

/** Whether an input is the receipt that a message of MCP goes on from. */
const isTrail = (protocol: Claim["protocol"], { name, type, value }: Input): boolean =>
  protocol === "MCP" && name === CONTINUES && type === "STRING" && isId("rcp", value);

function isNormalHttpPath(path: string): boolean {
  const normal = normaliseHttpPath(path);
  return !isInvalid(normal) && normal.path === path;
}

const isActionOf = (claim: Claim, action: NonNullable<Contents["action"]>): boolean =>
  claim.protocol === action.protocol &&
  claim.target === action.target &&
  claim.verb === action.verb &&
  claim.path === action.path &&
  claim.scheme === action.scheme;
