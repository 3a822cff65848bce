import type { Crypto } from "./crypto.ts";
import { isId, isInstanceId } from "./ids.ts";
import { type Invalid, isInvalid } from "./invalid.ts";
import { checkSigners, type KeysetBody } from "./keyset.ts";
import { purposeMax } from "./limits.ts";
import { isPrintable } from "./manifest.ts";
import type { SignedBytes, Verified } from "./signed.ts";
import { TRANSITION, type TransitionBody } from "./transition.ts";
import { checkIssued, firstOf, isPresent, must, openVersion1, sameTenant } from "./verify.ts";

/**
 * Verifies that the issuer signed this change of state, and that it says all that its cause asks for.
 * Whether it follows from the evidence that it cites is `step`'s to say, see lifecycle.ts.
 */
export function verifyTransition(
  crypto: Crypto,
  signed: SignedBytes,
  keyset: Verified<KeysetBody>,
  nowUs: number,
): Verified<TransitionBody> | Invalid {
  const opened = openVersion1(crypto, TRANSITION, signed);
  if (isInvalid(opened)) return opened;
  const { body, signers, verified } = opened;
  return (
    firstOf(
      () => sameTenant("transition.tenantId", body.tenantId, keyset.body.tenantId),
      () => checkIssued("transition.atUs", body.atUs, nowUs),
      () => checkSigners("transition", keyset, "ISSUER", signers, { signedAtUs: body.atUs, nowUs }),
      () => checkTransition(body),
    ) ?? verified
  );
}

/** What is wrong with a transition's content; null: nothing. */
function checkTransition(body: TransitionBody): Invalid | null {
  return firstOf(
    () => must(isId("trn", body.transitionId), "E_FIELD", "transition.transitionId is not an id"),
    () => must(isInstanceId(body.instanceId), "E_FIELD", "transition.instanceId is not an id"),
    () => must(isPresent(body.ledgerId), "E_FIELD", "transition.ledgerId is absent"),
    () =>
      must(
        body.from !== "UNSPECIFIED" && body.to !== "UNSPECIFIED" && body.from !== body.to,
        "E_FIELD",
        `transition goes from ${body.from} to ${body.to}`,
      ),
    () => must(body.from !== "STOPPED", "E_FIELD", "transition.from is STOPPED, which is terminal"),
    () => must(body.cause !== "UNSPECIFIED", "E_FIELD", "transition.cause is absent"),
    () =>
      must(
        body.cause !== "CONDITION" || body.condition !== "UNSPECIFIED",
        "E_FIELD",
        "transition.condition is absent, and its cause is one",
      ),
    () =>
      must(
        (body.cause === "OPERATOR") === isPresent(body.actor),
        "E_FIELD",
        "transition.actor stands where an operator caused it, and only there",
      ),
    () =>
      must(
        body.reason.length <= purposeMax && isPrintable(body.reason),
        "E_FIELD",
        `transition.reason is not printable text of at most ${purposeMax} characters`,
      ),
  );
}
