import { authorize } from "../domain/authorize.ts";
import { NO_LIMITS } from "../domain/grant.ts";
import type { LeaseBody } from "../domain/lease.ts";
import { flagRangesMax } from "../domain/limits.ts";
import type { Verified } from "../domain/signed.ts";
import type { Authority } from "./authority.ts";
import type { Proven } from "./receipts.ts";

/** Another lease, thought of: these scopes and no other. Limits and times are left out of it. */
export interface Supposed {
  readonly scopes: readonly string[];
}

/** What would have come of the same claims under it. */
export interface WhatIf {
  readonly scopes: readonly string[];
  readonly allowed: number;
  readonly refused: number;
  /** The claim is not shown, or was not one that could be judged. */
  readonly unshown: number;
  /** Where it would have come out otherwise, at most 1,000. */
  readonly changes: readonly Change[];
}

export interface Change {
  readonly ledger: string;
  readonly seq: number;
  /** `allowed`, or the reason of the refusal. */
  readonly was: string;
  readonly would: string;
}

/** Decides every claim that is shown anew, by the gate's own code, under a lease that never was. */
export class Supposition {
  readonly #supposed: Supposed;
  readonly #changes: Change[] = [];
  #allowed = 0;
  #refused = 0;
  #unshown = 0;

  constructor(supposed: Supposed) {
    this.#supposed = supposed;
  }

  take(ledger: string, { subject }: Authority, { header, contents, lease }: Proven): void {
    const { kind, seq, openedAtUs, count } = header;
    if (kind !== "ACTION" && kind !== "DENIAL") return;
    const { claim } = contents;
    if (claim === null || lease === null) {
      this.#unshown += count;
      return;
    }
    const again = authorize(
      { subject, lease: this.#leaseLike(lease, openedAtUs), ...FAVOURABLE },
      // What was left to spend was of another lease.
      { ...claim, limitState: [] },
      openedAtUs,
    );
    const would = again.allowed ? "allowed" : again.reason;
    const was = kind === "ACTION" ? "allowed" : header.reason;
    if (again.allowed) this.#allowed += count;
    else this.#refused += count;
    const otherwise = (was === "allowed") !== again.allowed;
    if (otherwise && this.#changes.length < flagRangesMax)
      this.#changes.push({ ledger, seq, was, would });
  }

  #leaseLike(lease: Pick<Verified<LeaseBody>, "body" | "signed" | "ref">, atUs: number) {
    const scopes = this.#supposed.scopes.map((name) => ({ name, limits: NO_LIMITS }));
    const body = { ...lease.body, scopes, notBeforeUs: atUs, notAfterUs: atUs + 1 };
    return { ...lease, body: { ...body, observeUntilUs: 0 } };
  }

  report(): WhatIf {
    return {
      scopes: this.#supposed.scopes,
      allowed: this.#allowed,
      refused: this.#refused,
      unshown: this.#unshown,
      changes: this.#changes,
    };
  }
}

const FAVOURABLE = {
  manifestRecorded: true,
  retired: false,
  drifted: false,
  quarantined: false,
  stopped: false,
  revoked: false,
  overdue: false,
};
