import { fromHex, toHex } from "../../domain/bytes.ts";
import type { PayloadField } from "../../domain/payload.ts";
import { ReceiptHeader, VERDICTS, type Verdict } from "../../domain/receipt.ts";
import type { SignedBytes, Verdict as WireVerdict } from "../../gen/dragons/v1/artifacts_pb.ts";
import type { Entry } from "../../gen/dragons/v1/evidence_pb.ts";
import { native } from "../../native/crypto.ts";
import { isBroken } from "../../verifier/checks.ts";
import { type Contents, openPayload, readContents } from "../../verifier/payload.ts";
import { type Control, pages, type SidecarClient } from "../client.ts";
import { EXIT, Failure } from "../failure.ts";
import { aborted, listOrganisms, pause, resumeFrom } from "./organism.ts";

/** A receipt's header as it is shown. Hashes in hex, times in microseconds. */
export interface ReceiptView {
  readonly receiptId: string;
  readonly ledgerId: string;
  readonly seq: number;
  readonly kind: string;
  readonly verdict: string;
  readonly reason: string;
  readonly scope: string;
  /** What it would have been refused for, had its grant not merely observed; else UNSPECIFIED. */
  readonly wouldDeny: string;
  readonly openedAtUs: number;
  readonly closedAtUs: number;
  readonly egressLastUs: number;
  readonly intentSeq: number;
  readonly count: number;
  readonly leaseRef: string;
  readonly manifestHash: string;
  readonly payloadHash: string;
  readonly prevHash: string;
  /** Key that signed it, hex. */
  readonly signer: string;
}

/** A receipt with what the tenant kept of its payload; what was not kept is null. */
export interface OpenReceipt extends ReceiptView {
  readonly header: ReceiptHeader;
  readonly contents: Contents;
  /** Names of the fields whose openings are there. */
  readonly disclosed: readonly PayloadField[];
}

export interface ReceiptFilter {
  /** Hex; absent: every ledger of the tenant. */
  readonly ledgerId?: string;
  readonly verdict?: Exclude<Verdict, "UNSPECIFIED">;
}

/** What a watch may ask for besides; all of it must hold. */
export interface ReceiptWatchFilter extends ReceiptFilter {
  readonly scope?: string;
  /** Of the organism, and the version of its manifest. */
  readonly name?: string;
  readonly version?: string;
  /** A condition over `receipt.…` and `organism.…`. */
  readonly when?: string;
}

/** Receipt headers as the control plane holds them, by ledger and seq. */
export async function* listReceipts(
  control: Control,
  filter: ReceiptFilter,
): AsyncGenerator<ReceiptView> {
  const ledgers =
    filter.ledgerId === undefined
      ? (await listOrganisms(control)).map((o) => o.ledgerId)
      : [filter.ledgerId];
  for (const ledger of ledgers) {
    const ledgerId = fromHex(ledger);
    const page = (pageToken: string) =>
      control.ledgers.listReceipts({ ledgerId, pageToken, verdict: wireVerdict(filter) });
    for await (const { receipts } of pages(page)) yield* receipts.map(receiptView);
  }
}

export async function getReceipt(control: Control, receiptId: string): Promise<ReceiptView> {
  const { receipt } = await control.ledgers.getReceipt({ receiptId });
  return receiptView(receipt as SignedBytes);
}

export interface ReceiptWatch {
  /** Aborting it ends the watch. */
  readonly signal?: AbortSignal;
  /** Called when the control plane watches: whatever it comes to hold from now on is told. */
  readonly begun?: () => void;
}

/**
 * Each receipt header once, as the control plane comes to hold it. A lost stream is resumed where it
 * broke off; where that is no longer known, this throws, since going on would leave some out.
 */
export async function* watchReceipts(
  control: Control,
  filter: ReceiptWatchFilter,
  { signal, begun = () => {} }: ReceiptWatch = {},
): AsyncGenerator<ReceiptView> {
  let resumeToken = "";
  const wanted = {
    ledgerId: fromHex(filter.ledgerId ?? ""),
    verdict: wireVerdict(filter),
    scope: filter.scope ?? "",
    name: filter.name ?? "",
    agentVersion: filter.version ?? "",
    when: filter.when ?? "",
  };
  while (!aborted(signal)) {
    try {
      const request = { ...wanted, resumeToken };
      const options = signal === undefined ? {} : { signal };
      for await (const m of control.ledgers.watchReceipts(request, options)) {
        if (m.receipt !== undefined) yield receiptView(m.receipt);
        else if (resumeToken === "") begun();
        resumeToken = m.resumeToken;
      }
    } catch (error) {
      if (aborted(signal)) return;
      resumeToken = resumeFrom(error, resumeToken);
    }
    await pause(signal);
  }
}

/** None: of any verdict. */
const wireVerdict = ({ verdict }: ReceiptFilter): WireVerdict =>
  VERDICTS.indexOf(verdict ?? "UNSPECIFIED") as WireVerdict;

/** Receipts with their openings, from the sidecar's own ledger, by seq. */
export async function* listEntries(
  { evidence }: SidecarClient,
  fromSeq = 1,
): AsyncGenerator<OpenReceipt> {
  let next = BigInt(fromSeq);
  while (next > 0n) {
    const { entries, nextSeq } = await evidence.listEntries({ fromSeq: next });
    yield* entries.map(openReceipt);
    next = nextSeq;
  }
}

/** Holds the openings against the signed header. @throws Failure when they do not fit. */
export function openReceipt(entry: Entry): OpenReceipt {
  const signed = entry.receipt as SignedBytes;
  const header = ReceiptHeader.decode(signed.body);
  const opened = openPayload(native, header, entry.payload);
  const contents = isBroken(opened) ? opened : readContents(header, opened);
  if (isBroken(opened) || isBroken(contents)) {
    const { detail, code } = isBroken(opened)
      ? opened
      : (contents as { detail: string; code: string });
    throw new Failure(EXIT.refused, `receipt ${header.receiptId}: ${detail} (${code})`);
  }
  const disclosed = (Object.keys(opened.data) as PayloadField[]).filter(
    (f) => opened.data[f] !== null,
  );
  return { ...receiptView(signed), header, contents, disclosed };
}

function receiptView(signed: SignedBytes): ReceiptView {
  const h = ReceiptHeader.decode(signed.body);
  return {
    receiptId: h.receiptId,
    ledgerId: toHex(h.ledgerId),
    seq: h.seq,
    kind: h.kind,
    verdict: h.verdict,
    reason: h.reason,
    scope: h.scope,
    wouldDeny: h.wouldDeny,
    openedAtUs: h.openedAtUs,
    closedAtUs: h.closedAtUs,
    egressLastUs: h.egressLastUs,
    intentSeq: h.intentSeq,
    count: h.count,
    leaseRef: toHex(h.leaseRef),
    manifestHash: toHex(h.manifestHash),
    payloadHash: toHex(h.payloadHash),
    prevHash: toHex(h.prevHash),
    signer: toHex(signed.signatures[0]?.key ?? new Uint8Array(0)),
  };
}
