import { open } from "node:fs/promises";
import { SignedBytes } from "../../domain/signed.ts";
import { encodeSigned } from "../../domain/signing.ts";
import type { ExportRecordsResponse, RecordsHead } from "../../gen/dragons/v1/authority_pb.ts";
import { native } from "../../native/crypto.ts";
import {
  type ControlHead,
  ControlSection,
  type OpenRecords,
} from "../../verifier/control-section.ts";
import type { Surveyed } from "../../verifier/survey.ts";
import type { Control } from "../client.ts";
import { EXIT, Failure, Unreachable } from "../failure.ts";

/** How often a stream of records that broke off is gone on with, without a record in between. */
const attemptsMax = 3;

/** From where on: a record, or the one of a ledger's genesis. */
export type From = { readonly fromSeq: number } | { readonly ledgerId: Uint8Array };

/** What the records are put beside, and which of them are laid open. */
export interface Beside {
  readonly sections: readonly Surveyed[];
  readonly open: OpenRecords;
}

/** What was spooled of the control plane's ledger. */
export interface Spooled {
  readonly section: ControlSection;
  readonly fromSeq: number;
  /** Records in the ledger: it is shown up to the newest. */
  readonly size: number;
}

/**
 * Takes the tenant's records from the control plane and writes their frames into a file, for the section that
 * `ControlSection` makes of them.
 * @throws Failure when the control plane ends in between; Unreachable when it does not answer.
 */
export async function spoolRecords(
  control: Control,
  from: From,
  beside: Beside,
  path: string,
): Promise<Spooled> {
  const file = await open(path, "wx", 0o600);
  try {
    let spooled: Spooled | null = null;
    for await (const { head, records } of answers(control, from)) {
      if (spooled === null && head !== undefined) {
        const section = new ControlSection(native, headOf(head), beside.sections, beside.open);
        spooled = { section, fromSeq: Number(head.fromSeq), size: Number(head.size) };
      }
      const frames = records.map(({ receipt, payload }) => {
        if (spooled === null || receipt === undefined) throw cut();
        return spooled.section.take(encodeSigned(receipt), payload);
      });
      if (frames.length > 0) await file.writeFile(Buffer.concat(frames));
    }
    if (spooled === null) throw cut();
    return spooled;
  } finally {
    await file.close();
  }
}

/** Each record from there on, with its PayloadRow. See `answers`. */
export async function* openRecords(
  control: Control,
  from: From,
): AsyncGenerator<{ readonly seq: number; readonly row: Uint8Array }> {
  for await (const { records } of answers(control, from)) {
    for (const { seq, payload } of records) yield { seq: Number(seq), row: payload };
  }
}

/** All that the control plane answers, gone on with where it broke off. */
async function* answers(control: Control, from: From): AsyncGenerator<ExportRecordsResponse> {
  let request: { fromSeq: bigint; toSeq: bigint; ledgerId: Uint8Array } = {
    fromSeq: "fromSeq" in from ? BigInt(from.fromSeq) : 0n,
    toSeq: 0n,
    ledgerId: "ledgerId" in from ? from.ledgerId : new Uint8Array(0),
  };
  let next = 0n;
  for (let attempts = 0; ; attempts++) {
    try {
      for await (const answer of control.audit.exportRecords(request)) {
        if (answer.head !== undefined && next === 0n) {
          next = answer.head.fromSeq;
          request = { ...request, toSeq: answer.head.size };
        }
        const last = answer.records.at(-1);
        if (last !== undefined) {
          next = last.seq + 1n;
          attempts = 0;
        }
        yield answer;
      }
      if (next !== request.toSeq + 1n) throw cut();
      return;
    } catch (error) {
      const more = next <= request.toSeq && attempts < attemptsMax;
      if (!(error instanceof Unreachable) || next === 0n || !more) throw error;
      request = { ...request, fromSeq: next, ledgerId: new Uint8Array(0) };
    }
  }
}

function headOf(head: RecordsHead): ControlHead {
  const { genesis, keyset, note, witnessedNote, frontier, lastHash } = head;
  if (genesis === undefined || keyset === undefined) throw cut();
  return {
    genesis: SignedBytes.encode(genesis),
    keyset: SignedBytes.encode(keyset),
    note,
    witnessedNote,
    fromSeq: Number(head.fromSeq),
    frontier,
    lastHash,
  };
}

const cut = (): Failure =>
  new Failure(
    EXIT.failed,
    "the control plane ended before all of its records were here; try again",
  );
