import type { CodecError } from "../domain/canonical.ts";
import type { Crypto } from "../domain/crypto.ts";
import { SignedBytes } from "../domain/signed.ts";
import { type Begun, lookAhead, type Parts } from "./ahead.ts";
import { decodeStrictly, type Root } from "./authority.ts";
import { type Break, broken, isBroken } from "./checks.ts";
import {
  type ControlLedger,
  closeControl,
  isControl,
  openControl,
  type ProvenRecord,
  proveRecord,
} from "./control-ledger.ts";
import { Flags } from "./flags.ts";
import { addOpenIntent, closeLedger, openLedger, type WorkLedger } from "./ledger.ts";
import { decodeFrame, FRAME_KINDS, type Frame, PackError, PackHeader, readFrames } from "./pack.ts";
import { type Proven, proveReceipt } from "./receipts.ts";
import type { Compared } from "./recorded.ts";
import { type Report, writeReport } from "./report.ts";
import { readOn, type Salvage } from "./salvage.ts";
import { addLeaves, newPreamble, type Preamble } from "./section.ts";
import { proveSingle } from "./singles.ts";
import { Tally } from "./tally.ts";
import type { TrustFile } from "./trust-file.ts";
import { type Supposed, Supposition } from "./what-if.ts";

export interface VerifyOptions {
  /** null: the pack is read, but nobody vouches for it; the exit code is 78. */
  readonly trust: TrustFile | null;
  /** Microseconds since the epoch: what age is judged by where the trust file does not say. */
  readonly nowUs: number;
  /** Scopes of a lease that never was: every claim that is shown is decided under it, too. */
  readonly whatIf?: Supposed;
  /** Called for each frame before anything in it is believed: whoever keeps its place can read it again. */
  readonly onFrame?: (frame: Frame) => void;
  /** Called when all that stands before a ledger's receipts holds. */
  readonly onLedger?: (ledger: Ledger) => void;
  /** Called for each receipt that holds, in order: for timelines. Nothing of it is kept. */
  readonly onReceipt?: (ledger: string, proven: Proven) => void;
  /** The same of what the control plane recorded. */
  readonly onRecord?: (ledger: string, proven: ProvenRecord) => void;
}

export type Ledger = WorkLedger | ControlLedger;

/**
 * Checks a pack in one pass and tells what it found; never throws for what is in the pack. Memory is
 * two batches of frames, what stands before the receipts, and some 60 bytes a receipt.
 */
export async function verify(
  crypto: Crypto,
  pack: AsyncIterable<Uint8Array>,
  options: VerifyOptions,
): Promise<Report> {
  const reading = new Reading(crypto, options);
  let fault: Break | null = null;
  let salvage: Salvage | null = null;
  try {
    const batches = lookAhead(crypto, readFrames(pack));
    walk: for await (const batch of batches) {
      for (const [at, begun] of batch.entries()) {
        options.onFrame?.(begun.frame);
        fault = reading.take(begun);
        if (fault === null) continue;
        const rest = following(batch.slice(at + 1), batches);
        ({ fault, salvage } = await readOn(crypto, fault, begun, rest, reading.section));
        break walk;
      }
    }
  } catch (error) {
    if (!(error instanceof PackError)) throw error;
    fault = broken("FRAMES", error.code, 0, error.message);
  }
  return writeReport({
    fault,
    salvage,
    supposition: reading.supposition,
    trust: options.trust,
    tenant: reading.tenant,
    ledgerId: reading.ledgerId,
    ledgers: reading.ledgers,
    flags: reading.flags,
    tally: reading.tally,
    nowUs: options.nowUs,
  });
}

async function* following(
  batch: readonly Begun[],
  batches: AsyncIterable<readonly Begun[]>,
): AsyncGenerator<Begun> {
  yield* batch;
  for await (const next of batches) yield* next;
}

type Placed = Exclude<keyof Preamble, "GENESIS">;
const BEFORE_RECEIPTS: ReadonlySet<string> = new Set<Placed>([
  "KEYSET",
  "MANIFEST",
  "GRANT",
  "DOCK",
  "LEASE",
  "REVOCATION",
  "HEARTBEAT",
  "TRANSITION",
  "CHECKPOINT",
  "FRONTIER",
]);

/** Where the reader stands in the file. Each frame either moves it on or breaks the pack. */
class Reading {
  readonly ledgers: Ledger[] = [];
  readonly flags = new Flags();
  readonly tally = new Tally();
  /** null: nothing is supposed. */
  readonly supposition: Supposition | null;
  tenant = "";
  /** Of the section being read; empty: its genesis is not proven yet. */
  ledgerId = "";
  readonly #crypto: Crypto;
  readonly #options: VerifyOptions;
  #announced = 0;
  #last: number = 0;
  #preamble: Preamble | null = null;
  #ledger: Ledger | null = null;

  constructor(crypto: Crypto, options: VerifyOptions) {
    this.#crypto = crypto;
    this.#options = options;
    this.supposition = options.whatIf ? new Supposition(options.whatIf) : null;
    if (options.trust === null) this.flags.raise("UNPINNED");
  }

  /** The ledger whose receipts are being read; null: none is open. */
  get section(): Ledger | null {
    return this.#ledger;
  }

  take({ frame, parts }: Begun): Break | null {
    const place = FRAME_KINDS.indexOf(frame.kind);
    const opens = frame.kind === "GENESIS" && this.#last > 0;
    if (!opens && place < this.#last) return outOfPlace(frame);
    if (this.#last === 0 && frame.kind !== "HEADER") return outOfPlace(frame);
    if (frame.kind === "HEADER" && this.#last > 0) return outOfPlace(frame);
    this.#last = place;
    this.tally.add("FRAMES");
    switch (frame.kind) {
      case "HEADER":
        return this.#start(frame);
      case "GENESIS":
        return this.#close() ?? this.#open(frame);
      case "RECEIPT":
        return this.#inLedger(frame, (ledger) =>
          parts === null ? outOfPlace(frame) : this.#receipt(ledger, parts),
        );
      case "PROOF":
        return this.#inLedger(frame, (ledger) => this.#single(ledger, frame));
      case "OPEN_INTENT":
        return this.#inLedger(frame, (ledger) =>
          ledger.role === "WORK" && ledger.singles.length === 0
            ? addOpenIntent(ledger, frame.body)
            : outOfPlace(frame),
        );
      case "LEAVES":
        return this.#inLedger(frame, (ledger) => addLeaves(ledger, frame.body));
      case "END":
        return this.#close() ?? this.#end();
      default:
        return this.#before(frame);
    }
  }

  #start(frame: Frame): Break | null {
    const { tenantId, ledgers } = decodeFrame(PackHeader, frame.body, frame.kind);
    this.tenant = tenantId;
    this.#announced = ledgers;
    const { trust } = this.#options;
    if (tenantId === "" || (trust !== null && trust.tenant !== tenantId)) {
      return broken(
        "TENANT",
        "E_TENANT_MISMATCH",
        0,
        `the pack is of tenant ${JSON.stringify(tenantId)}`,
      );
    }
    this.tally.add("TENANT");
    return null;
  }

  #before(frame: Frame): Break | null {
    const { kind, body } = frame;
    if (this.#preamble === null || !BEFORE_RECEIPTS.has(kind)) return outOfPlace(frame);
    (this.#preamble[kind as Placed] as Uint8Array[]).push(body);
    return null;
  }

  #open(frame: Frame): Break | null {
    this.ledgerId = "";
    if (this.ledgers.at(-1)?.role === "CONTROL") return outOfPlace(frame);
    this.#preamble = newPreamble(frame.body);
    return null;
  }

  /** The ledger of this frame; its authority is proven when the first frame asks for it. */
  #current(): Ledger | Break | null {
    if (this.#preamble === null) return this.#ledger;
    const preamble = this.#preamble;
    this.#preamble = null;
    const root = this.#root(preamble);
    if (isBroken(root)) return root;
    const given = { crypto: this.#crypto, frames: preamble, root, trust: this.#options.trust };
    const ledger = isControl(preamble.GENESIS)
      ? openControl(given, this.ledgers.flatMap(comparedOf))
      : openLedger(given);
    if (isBroken(ledger)) return ledger;
    if (this.ledgers.some((l) => l.id === ledger.id)) {
      return broken("GENESIS", "E_LEDGER_DUP", 0, `ledger ${ledger.id} stands twice`);
    }
    this.ledgerId = ledger.id;
    this.tally.preamble(ledger);
    this.ledgers.push(ledger);
    this.#ledger = ledger;
    this.#options.onLedger?.(ledger);
    return ledger;
  }

  #inLedger(frame: Frame, step: (ledger: Ledger) => Break | null): Break | null {
    const ledger = this.#current();
    if (ledger === null) return outOfPlace(frame);
    return isBroken(ledger) ? ledger : step(ledger);
  }

  #receipt(ledger: Ledger, parts: Parts | CodecError): Break | null {
    if (ledger.role === "CONTROL") {
      const proven = proveRecord(ledger, parts);
      if (isBroken(proven)) return proven;
      this.tally.record(ledger, proven);
      this.#options.onRecord?.(ledger.id, proven);
      return null;
    }
    const proven = proveReceipt(ledger.line, parts);
    if (isBroken(proven)) return proven;
    this.tally.receipt(ledger, proven);
    ledger.brackets.take(proven.header, proven.lease?.body.issuedAtUs ?? 0);
    this.supposition?.take(ledger.id, ledger.line.authority, proven);
    this.#options.onReceipt?.(ledger.id, proven);
    return null;
  }

  #single(ledger: Ledger, frame: Frame): Break | null {
    const { tree, lastSeq, firstSeq } = ledger.line;
    const begun = tree.announced || firstSeq > 1 || lastSeq >= firstSeq;
    if (ledger.role === "CONTROL" || (begun && ledger.singles.length === 0))
      return outOfPlace(frame);
    const proven = proveSingle(ledger, frame.body);
    if (isBroken(proven)) return proven;
    this.tally.single(ledger, proven);
    this.supposition?.take(ledger.id, ledger.line.authority, proven);
    this.#options.onReceipt?.(ledger.id, proven);
    return null;
  }

  #close(): Break | null {
    const ledger = this.#current();
    if (ledger === null || isBroken(ledger)) return ledger;
    this.#ledger = null;
    const fault = ledger.role === "WORK" ? closeLedger(ledger) : closeControl(ledger);
    if (fault !== null) return fault;
    this.tally.closed(ledger);
    return null;
  }

  #end(): Break | null {
    if (this.ledgers.length === 0)
      return broken("FRAMES", "E_PACK_EMPTY", 0, "the pack has no ledger");
    if (this.ledgers.length === this.#announced) return null;
    this.ledgerId = "";
    const what = `the header announces ${this.#announced} ledgers, the pack has ${this.ledgers.length}`;
    return broken("FRAMES", "E_PACK_TRUNCATED", 0, what);
  }

  /** Whom the keyset must come from. Unpinned, the pack's own word stands in, and the report says so. */
  #root(preamble: Preamble): Root | Break {
    const { trust } = this.#options;
    if (trust !== null) return trust;
    const [first] = preamble.KEYSET;
    if (first === undefined)
      return broken("KEYSET", "E_KEYSET_MISSING", 0, "the pack has no keyset");
    const signed = decodeStrictly("KEYSET", SignedBytes, first);
    if (isBroken(signed)) return signed;
    const rootKey = signed.signatures[0]?.key ?? new Uint8Array(32);
    return { tenant: this.tenant, rootKey, keysetVersion: 1 };
  }
}

/** What the control plane's ledger is asked about. */
function comparedOf(ledger: Ledger): Compared[] {
  if (ledger.role === "CONTROL") return [];
  const { id, line, transitions, heartbeats } = ledger;
  const leases = line.leases.all();
  const pinned = leases.map(({ body }) => ({ size: body.headSize, root: body.headRoot }));
  const heads = [...ledger.heads, ...pinned, ...heartbeats.map(({ body }) => body)];
  return [{ id, flags: line.flags, heads, leases, transitions }];
}

const outOfPlace = ({ kind, offset }: Frame): Break =>
  broken("FRAMES", "E_PACK_ORDER", 0, `byte ${offset}: ${kind} does not belong there`);
