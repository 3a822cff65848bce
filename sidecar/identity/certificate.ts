import type { Signer } from "../../src/domain/crypto.ts";
import { enrolMessage } from "../../src/domain/enrolment.ts";
import type { Clock } from "../../src/native/clock.ts";
import { generateTlsKey } from "../../src/native/pki.ts";
import { StatusError } from "../../src/wire/status.ts";

/** What is shown to the control plane. `keyPem` never leaves this process: a new start enrols anew. */
export interface Certificate {
  readonly certPem: string;
  readonly keyPem: string;
  /** When to ask for the next one, by the monotonic clock. */
  readonly renewAtUs: number;
}

/** What is sent, and what comes back, to have a key certified. */
export type EnrolCall = (request: {
  readonly ledgerId: Uint8Array;
  readonly tlsKey: Uint8Array;
  readonly askedAtUs: bigint;
  readonly signature: Uint8Array;
}) => Promise<{ readonly certificate: string; readonly notAfterUs: bigint }>;

/** The ledger that a certificate is to be for. */
export interface LedgerIdentity {
  readonly ledgerId: Uint8Array;
  readonly ledgerSigner: Signer;
}

/**
 * Makes a key for TLS and has it certified on the word of the ledger key. Should our clock be far from
 * the control plane's, the word is said again for its time: it is good for enrolling and nothing else.
 */
export async function enrol(
  call: EnrolCall,
  { ledgerId, ledgerSigner }: LedgerIdentity,
  clock: Clock,
): Promise<Certificate> {
  const { publicKey: tlsKey, keyPem } = generateTlsKey();
  const ask = async (askedAtUs: number): Promise<Certificate> => {
    const signature = await ledgerSigner.sign(enrolMessage({ ledgerId, tlsKey, askedAtUs }));
    const request = { ledgerId, tlsKey, askedAtUs: BigInt(askedAtUs), signature };
    const { certificate, notAfterUs } = await call(request);
    // Half of its life is longer than any connection that begins with it lives.
    const renewAtUs = clock.monotonicUs() + (Number(notAfterUs) - askedAtUs) / 2;
    return { certPem: certificate, keyPem, renewAtUs };
  };
  try {
    return await ask(clock.nowUs());
  } catch (error) {
    const theirs = skewed(error);
    if (theirs === null) throw error;
    return ask(theirs);
  }
}

/** The control plane's time, if that is what it refused for. */
function skewed(error: unknown): number | null {
  if (!(error instanceof StatusError) || error.reason !== "CLOCK_SKEW") return null;
  const nowUs = Number(error.metadata.now_us);
  return Number.isSafeInteger(nowUs) && nowUs > 0 ? nowUs : null;
}
