import { toHex } from "../domain/bytes.ts";
import type { Limits } from "../domain/grant.ts";
import type { LeaseBody } from "../domain/lease.ts";
import type { Verified } from "../domain/signed.ts";

type Lease = Pick<Verified<LeaseBody>, "body" | "ref" | "signed">;

/** The leases of one ledger, in the order they were issued, and which of them were cited. */
export class LeaseBook {
  readonly #byRef: ReadonlyMap<string, Lease>;
  readonly #ascending: readonly Lease[];
  readonly #bySeq: ReadonlyMap<number, Lease>;
  #firstCited = Number.POSITIVE_INFINITY;
  #lastCited = 0;

  constructor(leases: ReadonlyMap<string, Lease>) {
    this.#byRef = leases;
    this.#ascending = [...leases.values()].sort((a, b) => a.body.leaseSeq - b.body.leaseSeq);
    this.#bySeq = new Map(this.#ascending.map((l) => [l.body.leaseSeq, l]));
  }

  all(): readonly Lease[] {
    return this.#ascending;
  }

  /** Two leases with one leaseSeq: their issuer has equivocated. */
  twice(): Lease | null {
    return (
      this.#ascending.find((l, i) => this.#ascending[i + 1]?.body.leaseSeq === l.body.leaseSeq) ??
      null
    );
  }

  cite(ref: Uint8Array): Lease | null {
    const lease = this.#byRef.get(toHex(ref)) ?? null;
    if (lease !== null) {
      this.#firstCited = Math.min(this.#firstCited, lease.body.leaseSeq);
      this.#lastCited = Math.max(this.#lastCited, lease.body.leaseSeq);
    }
    return lease;
  }

  /**
   * Whether leases without a gap in time hold until `untilUs` (inclusive), from `lease` on, each of
   * them granting the scope.
   */
  covers(lease: Lease, scope: string, untilUs: number): boolean {
    let heldUntilUs = lease.body.notAfterUs;
    if (untilUs < heldUntilUs) return true;
    for (const { body } of this.#ascending) {
      if (body.leaseSeq <= lease.body.leaseSeq) continue;
      if (body.notBeforeUs > heldUntilUs) return false;
      if (!body.scopes.some((s) => s.name === scope)) return false;
      heldUntilUs = Math.max(heldUntilUs, body.notAfterUs);
      this.#lastCited = Math.max(this.#lastCited, body.leaseSeq);
      if (untilUs < heldUntilUs) return true;
    }
    return false;
  }

  /** The highest that any of them allows; 0: none holds the scope. */
  ceiling(scope: string, limit: keyof Limits): number {
    return this.#ascending.reduce((most, { body }) => {
      const held = body.scopes.find((s) => s.name === scope)?.limits[limit] ?? 0;
      return Math.max(most, held);
    }, 0);
  }

  bySeq(leaseSeq: number): Lease | null {
    return this.#bySeq.get(leaseSeq) ?? null;
  }

  /**
   * Whether something speaks for a lease: it is cited, or lies between two that are, or is one of the
   * two that follow the last (they pin what was done under it).
   */
  isReferenced({ body }: Lease): boolean {
    return body.leaseSeq >= this.#firstCited && body.leaseSeq <= this.#lastCited + 2;
  }
}
