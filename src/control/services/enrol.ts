import { equal } from "../../domain/bytes.ts";
import type { Crypto } from "../../domain/crypto.ts";
import { enrolMessage } from "../../domain/enrolment.ts";
import { enrolSkewUs } from "../../domain/limits.ts";
import type { DockService } from "../../gen/dragons/v1/dock_pb.ts";
import type { Clock } from "../../native/clock.ts";
import type { Handlers } from "../../wire/rpc.ts";
import { StatusError } from "../../wire/status.ts";
import { holdsBeside } from "../beside.ts";
import type { SidecarCertificates } from "../certificates.ts";
import type { Tenants } from "../tenants.ts";
import { badArgument, exactBytes, notFound } from "./requests.ts";

export interface EnrolParts {
  readonly tenants: Pick<Tenants, "findLedger">;
  readonly certificates: Pick<SidecarCertificates, "issue">;
  readonly crypto: Crypto;
  readonly clock: Clock;
}

/**
 * Certifies a sidecar's TLS key on the word of its ledger key. Whoever hears that word gains nothing
 * by saying it again: the certificate is for a key that is not theirs. That it is of now bounds what
 * an old TLS key, once found, is good for.
 */
export function enrolment(parts: EnrolParts): Handlers<typeof DockService>["enrol"] {
  const { tenants, certificates, crypto, clock } = parts;
  return async (request) => {
    const ledgerId = exactBytes(request.ledgerId, "ledger_id");
    const tlsKey = exactBytes(request.tlsKey, "tls_key");
    const found = tenants.findLedger(ledgerId);
    if (found === null) throw notFound("ledger");
    const { tenant, ledger } = found;
    const { ledgerKey } = ledger;
    const askedAtUs = Number(request.askedAtUs);
    const said = enrolMessage({ ledgerId, tlsKey, askedAtUs });
    if (!(await holdsBeside(crypto, ledgerKey, said, request.signature))) {
      throw new StatusError(
        "UNAUTHENTICATED",
        "CREDENTIAL_INVALID",
        "signature: is not by the ledger key over this ledger, key and time",
      );
    }
    const weak = crypto.keyProblem(tlsKey);
    if (weak !== null) {
      throw new StatusError("PERMISSION_DENIED", weak, "tls_key: is not a key to be trusted");
    }
    if (equal(tlsKey, ledgerKey)) {
      throw badArgument(
        "tls_key",
        "must be another than the ledger key, which signs evidence alone",
      );
    }
    const nowUs = clock.nowUs();
    if (Math.abs(nowUs - askedAtUs) > enrolSkewUs) {
      throw new StatusError(
        "FAILED_PRECONDITION",
        "CLOCK_SKEW",
        `asked_at_us: is ${Math.round((askedAtUs - nowUs) / 1_000_000)} s from now; sign for now_us`,
        { now_us: `${nowUs}` },
      );
    }
    const { certPem, notAfterUs } = certificates.issue(tenant, ledger, tlsKey);
    // Nobody is told of a ledger that a crash could still undo.
    await tenant.settled();
    return { certificate: certPem, notAfterUs: BigInt(notAfterUs) };
  };
}
