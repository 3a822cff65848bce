import { controlLeafTtlUs, retryRenewalUs } from "../domain/limits.ts";
import type { Clock, Timer } from "../native/clock.ts";
import type { Issued } from "../native/pki.ts";

export interface ServerCertificateParts {
  readonly issue: () => Promise<Issued>;
  /** New connections are shown it from now on; those that are open go on. */
  readonly present: (certificate: Issued) => void;
  readonly clock: Clock;
  /** Told of a renewal that failed; the certificate in use holds as long again. */
  readonly onFault: (error: unknown) => void;
}

/** Keeps a fresh certificate on show: renewed at half of its life, however long the process runs. */
export class ServerCertificate {
  readonly #parts: ServerCertificateParts;
  #timer: Timer;

  constructor(parts: ServerCertificateParts) {
    this.#parts = parts;
    this.#timer = this.#in(controlLeafTtlUs / 2);
  }

  close(): void {
    this.#timer.cancel();
  }

  #in(us: number): Timer {
    return this.#parts.clock.after(us, () => void this.#renew());
  }

  async #renew(): Promise<void> {
    const { issue, present, onFault } = this.#parts;
    try {
      present(await issue());
      this.#timer = this.#in(controlLeafTtlUs / 2);
    } catch (error) {
      onFault(error);
      this.#timer = this.#in(retryRenewalUs);
    }
  }
}
