import type { LeaseBody } from "../domain/lease.ts";
import type { LedgerRecord } from "./projection.ts";

/**
 * Until when an instance may hold a lease of which nothing is recorded yet, given the last one that is. Each
 * record reserves as long again as its lease lasts: so the next need not wait for the disk, and whoever
 * starts after a crash knows how long the instance may have been acting under what nobody remembers.
 */
export const reservedUntilUs = ({
  notBeforeUs,
  notAfterUs,
}: Pick<LeaseBody, "notBeforeUs" | "notAfterUs">): number =>
  notAfterUs + (notAfterUs - notBeforeUs);

/** The same of a ledger; 0: it never held a lease. */
export const horizonUsOf = ({ lease }: LedgerRecord): number =>
  lease === null ? 0 : reservedUntilUs(lease.terms);
