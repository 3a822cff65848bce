import type { Signer } from "../../domain/crypto.ts";
import { revocationTriesMax } from "../../domain/limits.ts";
import { checkRevocation, REVOCATION, RevocationBody } from "../../domain/revocation.ts";
import { refOf, signBody } from "../../domain/signing.ts";
import { native } from "../../native/crypto.ts";
import { StatusError } from "../../wire/status.ts";
import { type Control, pages } from "../client.ts";
import { EXIT, Failure } from "../failure.ts";
import { type Outlet, recordedAt } from "./proposal.ts";

/** What operators take back for good, and why. */
export type Revoked = Pick<RevocationBody, "kind" | "target" | "reason">;

/**
 * Signs the tenant's next revocation with operators' grant keys and records it. Where another took
 * the epoch in the meantime, it is signed again for the one after.
 */
export async function revoke(
  control: Control,
  signers: readonly Signer[],
  what: Revoked,
  outlet: Outlet = recordedAt(control),
): Promise<{ readonly epoch: number }> {
  for (let tries = 1; ; tries++) {
    const last = await lastRevocation(control);
    const body: RevocationBody = {
      version: 1,
      tenantId: control.tenant,
      epoch: last.epoch + 1,
      previous: last.ref,
      ...what,
      effectiveUs: control.clock.nowUs(),
    };
    const problem = checkRevocation(body);
    if (problem !== null) throw new Failure(EXIT.usage, problem.detail);
    const signed = await signBody(REVOCATION, body, signers);
    try {
      await outlet("revocation", signed);
      return { epoch: body.epoch };
    } catch (error) {
      const taken = error instanceof StatusError && error.reason === "EPOCH_TAKEN";
      if (!taken || tries === revocationTriesMax) throw error;
    }
  }
}

async function lastRevocation(
  control: Control,
): Promise<{ readonly epoch: number; readonly ref: Uint8Array }> {
  let body: Uint8Array | null = null;
  for await (const page of pages((pageToken) => control.grants.listRevocations({ pageToken }))) {
    body = page.revocations.at(-1)?.body ?? body;
  }
  if (body === null) return { epoch: 0, ref: new Uint8Array(0) };
  return { epoch: RevocationBody.decode(body).epoch, ref: refOf(native, "revocation", body) };
}
