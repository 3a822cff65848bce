import { toHex } from "../../domain/bytes.ts";
import type { PayloadField } from "../../domain/payload.ts";
import { native } from "../../native/crypto.ts";
import type { ControlSection } from "../../verifier/control-section.ts";
import { joinPack } from "../../verifier/join.ts";
import { type Surveyed, surveyPack } from "../../verifier/survey.ts";
import { StatusError } from "../../wire/status.ts";
import type { Control, SidecarClient } from "../client.ts";
import { EXIT, Failure, Unreachable } from "../failure.ts";
import { type Beside, type From, spoolRecords } from "./control-records.ts";
import { type Aside, bytesOf, made, writeStream } from "./pack-file.ts";

export interface Export {
  /** The pack's file. */
  readonly out: string;
  /** Seqs, inclusive; absent: from the first, to the last. */
  readonly fromSeq?: number;
  readonly toSeq?: number;
  /** Payload fields to lay open; none: those that the sidecar discloses by itself. */
  readonly disclose?: readonly PayloadField[];
  /** In place of a range: what covers the receipts under a lease, or opened in a time, microseconds. */
  readonly leaseId?: string;
  readonly sinceUs?: number;
  readonly untilUs?: number;
  /** In place of all of these: single receipts, by their ids. */
  readonly receiptIds?: readonly string[];
}

/** What was written. */
export interface Exported {
  readonly bytes: number;
  /** Records of the control plane's own ledger that are in it, by seq, inclusive; null: it is left out. */
  readonly records: { readonly from: number; readonly to: number } | null;
  /** Why it is left out, where it was asked for; null: it was not, or is in there. */
  readonly leftOut: string | null;
}

/**
 * Writes an evidence pack into a file, which is there whole or not at all. With a control plane, its own
 * ledger of the same range is put beside it, and what that has of the organism's states goes into its section;
 * one that does not answer is left out, and that is told.
 * @throws Failure, usage, when the file cannot be written; refused, when the control plane knows no such ledger.
 */
export async function exportEvidence(
  sidecar: SidecarClient,
  asked: Export,
  control: Control | null = null,
): Promise<Exported> {
  return made(asked.out, async (aside) => {
    const pack = aside("pack");
    const bytes = await writeStream(pack, packOf(sidecar, asked));
    const alone = (leftOut: string | null) => ({ bytes, records: null, leftOut });
    if (control === null) return { path: pack, result: alone(null) };
    try {
      const { sections } = await surveyPack(native, bytesOf(pack));
      const [shown] = sections;
      if (shown === undefined) throw new Error("a sidecar exports one ledger");
      const beside = { sections, open: "THEIRS" } as const;
      return await joined(control, pack, firstRecord(shown), beside, aside).catch((error) => {
        throw explained(error, control, shown);
      });
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      return { path: pack, result: alone(error.message) };
    }
  });
}

/** A sidecar's own pack, of its one ledger. */
export async function* packOf(
  { evidence }: SidecarClient,
  asked: Omit<Export, "out">,
): AsyncGenerator<Uint8Array> {
  const { fromSeq = 0, toSeq = 0, disclose = [], leaseId = "", sinceUs = 0, untilUs = 0 } = asked;
  const request = {
    fromSeq: BigInt(fromSeq),
    toSeq: BigInt(toSeq),
    disclose: [...disclose],
    leaseId,
    sinceUs: BigInt(sinceUs),
    untilUs: BigInt(untilUs),
    receiptIds: [...(asked.receiptIds ?? [])],
  };
  for await (const { chunk } of evidence.export(request)) yield chunk;
}

/** The pack with the control plane's ledger beside it, from a record of it on. */
export async function joined(
  control: Control,
  pack: string,
  from: From,
  beside: Beside,
  aside: Aside,
): Promise<{ path: string; result: Exported }> {
  const spool = aside("records");
  const { section, fromSeq, size } = await spoolRecords(control, from, beside, spool);
  const path = aside("joined");
  const bytes = await writeStream(
    path,
    joinPack(native, bytesOf(pack), {
      added: (ledger) => section.added(ledger),
      section: sectionOf(section, spool),
      frames: section.frames,
    }),
  );
  return { path, result: { bytes, records: { from: fromSeq, to: size }, leftOut: null } };
}

async function* sectionOf(section: ControlSection, spool: string): AsyncGenerator<Uint8Array> {
  yield* section.preamble();
  yield* bytesOf(spool);
}

/** A whole ledger from where it was born on; a part from what the first lease that it shows was cut over. */
function firstRecord({ firstSeq, controlSize, ledgerId }: Surveyed): From {
  return firstSeq === 1 || controlSize === null ? { ledgerId } : { fromSeq: controlSize + 1 };
}

/** What a refusal means to whoever exports. */
function explained(error: unknown, { address }: Control, { ledgerId }: Surveyed): unknown {
  if (!(error instanceof StatusError)) return error;
  const id = toHex(ledgerId).slice(0, 16);
  if (error.code === "NOT_FOUND")
    return new Failure(
      EXIT.refused,
      `control plane ${address} knows no ledger ${id} in this tenant: give the one that the sidecar is docked at, or --without-control`,
    );
  if (error.code === "OUT_OF_RANGE")
    return new Failure(
      EXIT.refused,
      `control plane ${address} has fewer records than leases of ledger ${id} pin: it was restored from a backup, or is another; export with --without-control, and tell whoever is to believe it`,
    );
  return error;
}
