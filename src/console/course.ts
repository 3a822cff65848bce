import type { Ledger } from "../verifier/verify.ts";

/** When things were said about one ledger, beside its receipts: for a timeline. Times as everywhere. */
export interface Course {
  /** Hex id. */
  readonly ledger: string;
  /** Times of its heartbeats, by its own clock, ascending. */
  readonly beats: readonly number[];
  readonly heads: readonly HeadMark[];
  readonly revocations: readonly RevocationMark[];
}

export interface HeadMark {
  readonly size: number;
  /** The control plane's clock; 0: witnesses alone cosigned it, and their clocks are not told. */
  readonly atUs: number;
  readonly witnesses: readonly string[];
}

export interface RevocationMark {
  readonly epoch: number;
  readonly effectiveUs: number;
  readonly kind: string;
  readonly reason: string;
}

export function courseOf(ledger: Ledger): Course {
  const heads = ledger.heads.map(({ size, cosignedAtUs, witnesses }) => ({
    size,
    atUs: cosignedAtUs,
    witnesses,
  }));
  const course = { ledger: ledger.id, heads };
  if (ledger.role === "CONTROL") return { ...course, beats: [], revocations: [] };
  return {
    ...course,
    beats: ledger.heartbeats.map(({ body }) => body.wallUs).sort((a, b) => a - b),
    revocations: ledger.line.authority.revocations.map(
      ({ body: { epoch, effectiveUs, kind, reason } }) => ({ epoch, effectiveUs, kind, reason }),
    ),
  };
}
