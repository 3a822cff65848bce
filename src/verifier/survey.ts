import { toHex } from "../domain/bytes.ts";
import { parseCheckpoint } from "../domain/checkpoint.ts";
import type { Crypto } from "../domain/crypto.ts";
import { isInvalid } from "../domain/invalid.ts";
import { LeaseBody } from "../domain/lease.ts";
import { manifestHash } from "../domain/manifest.ts";
import { ReceiptHeader } from "../domain/receipt.ts";
import { SignedBytes } from "../domain/signed.ts";
import { refOf } from "../domain/signing.ts";
import {
  type Frame,
  FrontierFrame,
  OpenIntentFrame,
  PackHeader,
  ProofFrame,
  ReceiptFrame,
  readFrames,
} from "./pack.ts";

/** What a section shows, as far as whoever puts something beside it must know. Nothing here is verified. */
export interface Surveyed {
  /** ref(genesis), 32 bytes. */
  readonly ledgerId: Uint8Array;
  /** References, hex, of its grants, docks and heartbeats, and hashes of its manifests. */
  readonly has: ReadonlySet<string>;
  /** seq of the first receipt that is shown. */
  readonly firstSeq: number;
  /** Size of the tree that is shown, leaves without their receipts included, and intents that are known. */
  readonly size: number;
  readonly intentsOpened: number;
  /** The smallest head of the control plane's ledger that a lease pins; null: none pins any. */
  readonly controlSize: number | null;
}

/** Reads a pack of the exporter's own once. @throws PackError, CodecError where it is none. */
export async function surveyPack(
  crypto: Crypto,
  pack: AsyncIterable<Uint8Array>,
): Promise<{ readonly tenantId: string; readonly sections: readonly Surveyed[] }> {
  let tenantId = "";
  const sections: Section[] = [];
  for await (const frames of readFrames(pack)) {
    for (const frame of frames) {
      if (frame.kind === "HEADER") ({ tenantId } = PackHeader.decode(frame.body));
      else if (frame.kind === "GENESIS") sections.push(new Section(crypto, frame.body));
      else sections.at(-1)?.take(frame);
    }
  }
  return { tenantId, sections };
}

class Section implements Surveyed {
  readonly ledgerId: Uint8Array;
  readonly has = new Set<string>();
  firstSeq = 1;
  controlSize: number | null = null;
  readonly #crypto: Crypto;
  #before = 0;
  #leaves = 0;
  #receipts = 0;
  #cosigned = 0;
  #opened = 0;
  #last: Uint8Array | null = null;

  constructor(crypto: Crypto, genesis: Uint8Array) {
    this.#crypto = crypto;
    this.ledgerId = refOf(crypto, "genesis", SignedBytes.decode(genesis).body);
  }

  get size(): number {
    return Math.max(this.#before + Math.max(this.#leaves, this.#receipts), this.#cosigned);
  }

  /** What its last receipt says that was opened, and rows of what was opened after it. */
  get intentsOpened(): number {
    return Math.max(this.#opened, this.#last === null ? 0 : header(this.#last).intentsOpened);
  }

  take({ kind, body }: Frame): void {
    switch (kind) {
      case "GRANT":
      case "DOCK":
      case "HEARTBEAT":
        this.has.add(toHex(refOf(this.#crypto, CITED[kind], SignedBytes.decode(body).body)));
        return;
      case "MANIFEST":
        this.has.add(toHex(manifestHash(this.#crypto, body)));
        return;
      case "LEASE":
        this.#lease(LeaseBody.decode(SignedBytes.decode(body).body));
        return;
      case "CHECKPOINT":
        this.#checkpoint(new TextDecoder().decode(body));
        return;
      case "FRONTIER":
        this.#frontier(FrontierFrame.decode(body));
        return;
      case "LEAVES":
        this.#leaves += body.length / 32;
        return;
      case "RECEIPT":
        this.#receipts++;
        this.#last = ReceiptFrame.decode(body).signed;
        return;
      case "PROOF":
        this.#single(ProofFrame.decode(body));
        return;
      case "OPEN_INTENT":
        this.#opened = Math.max(this.#opened, OpenIntentFrame.decode(body).intentSeq);
        return;
      default:
    }
  }

  #lease({ controlSize }: LeaseBody): void {
    if (controlSize > 0) this.controlSize = Math.min(controlSize, this.controlSize ?? controlSize);
  }

  #checkpoint(note: string): void {
    const head = parseCheckpoint(note.slice(0, note.indexOf("\n\n") + 1));
    if (!isInvalid(head)) this.#cosigned = Math.max(this.#cosigned, head.size);
  }

  #frontier({ size, intentsOpened }: FrontierFrame): void {
    this.#before = size + 1;
    this.firstSeq = size + 2;
    this.#opened = intentsOpened;
  }

  /** Of intents nothing is asked where receipts are shown by themselves. */
  #single({ signed }: ProofFrame): void {
    if (this.#last === null) this.firstSeq = header(signed).seq;
    this.#last = signed;
    this.#opened = Number.MAX_SAFE_INTEGER;
  }
}

const CITED = { GRANT: "grant", DOCK: "dock", HEARTBEAT: "heartbeat" } as const;

const header = (signed: Uint8Array): ReceiptHeader =>
  ReceiptHeader.decode(SignedBytes.decode(signed).body);
