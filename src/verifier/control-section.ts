import { equal, toHex, utf8 } from "../domain/bytes.ts";
import { leafHash } from "../domain/chain.ts";
import { parseCheckpoint } from "../domain/checkpoint.ts";
import type { Crypto } from "../domain/crypto.ts";
import { DirectiveBody } from "../domain/directive.ts";
import { EquivocationBody } from "../domain/equivocation.ts";
import { HEARTBEAT } from "../domain/heartbeat.ts";
import { isInvalid } from "../domain/invalid.ts";
import { LeaseBody } from "../domain/lease.ts";
import { packFrameBytesMax } from "../domain/limits.ts";
import { manifestHash } from "../domain/manifest.ts";
import { PAYLOAD_FIELDS, PayloadRow } from "../domain/payload.ts";
import { RecordBody } from "../domain/record.ts";
import { SignedBytes, type SignedName } from "../domain/signed.ts";
import { refOf } from "../domain/signing.ts";
import { TransitionBody } from "../domain/transition.ts";
import { LeafFrames } from "./leaf-frames.ts";
import { FrontierFrame, frame, ReceiptFrame } from "./pack.ts";
import type { Surveyed } from "./survey.ts";

/** What the records of a control plane's ledger rest on, as it hands them out. */
export interface ControlHead {
  /** SignedBytes of its genesis, and of the keyset in force. */
  readonly genesis: Uint8Array;
  readonly keyset: Uint8Array;
  /** Notes of the newest head, and of the newest that a witness cosigned; empty: there is none. */
  readonly note: string;
  readonly witnessedNote: string;
  /** seq of the first record. */
  readonly fromSeq: number;
  /** The tree before the record before it, and that record's H; none where fromSeq is 1. */
  readonly frontier: readonly Uint8Array[];
  readonly lastHash: Uint8Array;
}

/** What a section of the pack is to show beside what its keeper had: encoded SignedBytes. */
export interface Added {
  readonly heartbeats: readonly Uint8Array[];
  readonly transitions: readonly Uint8Array[];
}

/**
 * Which records are open. THEIRS: those of the ledgers beside, and of what their authority rests on. ALL: but for
 * changes of state that rest on what is later than the pack.
 */
export type OpenRecords = "THEIRS" | "ALL";

interface Follower extends Surveyed {
  readonly id: string;
  readonly heartbeats: Uint8Array[];
  readonly transitions: Uint8Array[];
  /** Refs, hex, of heartbeats whose head the pack does not reach. */
  readonly beyond: Set<string>;
  /** A change of state rests on one of those: it, and all after it, stay closed. */
  later: boolean;
}

const ACTION = PAYLOAD_FIELDS.indexOf("action") + 1;
const OUTCOME = PAYLOAD_FIELDS.indexOf("outcome") + 1;

/**
 * Writes the section of the control plane's ledger beside sections of others, a record at a time, and gathers
 * what it has for those: changes of state, and the heartbeats that they rest on. Of records that are not
 * open, headers and commitments are shown.
 * Memory is 32 bytes a record, and what is gathered.
 */
export class ControlSection {
  readonly #crypto: Crypto;
  readonly #head: ControlHead;
  readonly #open: OpenRecords;
  readonly #followers: ReadonlyMap<string, Follower>;
  readonly #leaves = new LeafFrames();
  #records = 0;

  constructor(crypto: Crypto, head: ControlHead, beside: readonly Surveyed[], open: OpenRecords) {
    this.#crypto = crypto;
    this.#open = open;
    this.#head = head;
    this.#followers = new Map(
      beside.map((s) => {
        const id = toHex(s.ledgerId);
        const shown = { ledgerId: s.ledgerId, has: s.has, firstSeq: s.firstSeq, size: s.size };
        const { intentsOpened, controlSize } = s;
        const gathered = {
          heartbeats: [],
          transitions: [],
          beyond: new Set<string>(),
          later: false,
        };
        return [id, { id, ...shown, intentsOpened, controlSize, ...gathered }];
      }),
    );
  }

  /** How many frames it has. */
  get frames(): number {
    return this.preamble().length + this.#records;
  }

  /** The frame of the next record; `signed`: SignedBytes, `row`: PayloadRow with all fields open. */
  take(signed: Uint8Array, row: Uint8Array): Uint8Array {
    this.#records++;
    this.#leaves.push(leafHash(this.#crypto, SignedBytes.decode(signed).body));
    const { commitments, openings } = PayloadRow.decode(row);
    const data = (field: number) =>
      openings.find((o) => o.field === field)?.data ?? new Uint8Array(0);
    const { what } = RecordBody.decode(data(ACTION));
    const theirs = this.#isTheirs(what, data(OUTCOME));
    const shown = theirs || (this.#open === "ALL" && what !== "transition");
    const open = ReceiptFrame.encode({ signed, row });
    // A manifest may be as large as a frame: then it is shown where it is cited alone.
    if (shown && open.length <= packFrameBytesMax) return frame("RECEIPT", open);
    const closed = PayloadRow.encode({ commitments, openings: [] });
    return frame("RECEIPT", ReceiptFrame.encode({ signed, row: closed }));
  }

  /** What stands before its records: to be asked for when all of them were taken. */
  preamble(): Uint8Array[] {
    const { genesis, keyset, note, witnessedNote, fromSeq, frontier, lastHash } = this.#head;
    const notes = [witnessedNote, note].filter((n) => n !== "" && sizeOf(n) >= fromSeq);
    const ledgerId = refOf(this.#crypto, "genesis", SignedBytes.decode(genesis).body);
    const before = {
      size: fromSeq - 2,
      nodes: [...frontier],
      last: lastHash,
      intentsOpened: 0,
      intentsHead: ledgerId,
    };
    return [
      frame("GENESIS", genesis),
      frame("KEYSET", keyset),
      ...notes.map((n) => frame("CHECKPOINT", utf8(n))),
      ...(fromSeq > 1 ? [frame("FRONTIER", FrontierFrame.encode(before))] : []),
      ...this.#leaves.bodies().map((body) => frame("LEAVES", body)),
    ];
  }

  /** What was gathered for a ledger, by its id in hex. */
  added(id: string): Added {
    return this.#followers.get(id) ?? { heartbeats: [], transitions: [] };
  }

  /** Whether a record is of the sections beside; gathers it where it is for them. */
  #isTheirs(what: RecordBody["what"], artifact: Uint8Array): boolean {
    const body = () => SignedBytes.decode(artifact).body;
    const cited = (name: SignedName) => toHex(refOf(this.#crypto, name, body()));
    switch (what) {
      // Whoever reads on needs to know who signs the next record; revocations are everybody's.
      case "keyset":
      case "revocation":
        return true;
      case "manifest":
        return this.#has(toHex(manifestHash(this.#crypto, artifact)));
      case "grant":
      case "dock":
        return this.#has(cited(what));
      case "genesis":
        return this.#followers.has(cited(what));
      case "lease":
        return this.#of(LeaseBody.decode(body())) !== null;
      case "directive":
        return this.#of(DirectiveBody.decode(body())) !== null;
      case "equivocation":
        return this.#of(EquivocationBody.decode(artifact)) !== null;
      case "head":
        return this.#isHeadOfTheirs(artifact);
      case "heartbeat":
        return this.#beat(artifact);
      case "transition":
        return this.#moved(artifact);
      default:
        return false;
    }
  }

  #has(reference: string): boolean {
    return [...this.#followers.values()].some((f) => f.has.has(reference));
  }

  #of({ ledgerId }: { readonly ledgerId: Uint8Array }): Follower | null {
    return this.#followers.get(toHex(ledgerId)) ?? null;
  }

  #isHeadOfTheirs(artifact: Uint8Array): boolean {
    const note = new TextDecoder().decode(artifact);
    const head = parseCheckpoint(note.slice(0, note.indexOf("\n\n") + 1));
    return !isInvalid(head) && this.#of(head) !== null;
  }

  /** A heartbeat that a change of state rests on. */
  #beat(artifact: Uint8Array): boolean {
    const { body } = SignedBytes.decode(artifact);
    const beat = HEARTBEAT.body.decode(body);
    const follower = this.#of(beat);
    if (follower === null) return false;
    const ref = toHex(refOf(this.#crypto, "heartbeat", body));
    const within = beat.size <= follower.size && beat.intentsOpened <= follower.intentsOpened;
    if (!within) follower.beyond.add(ref);
    else if (!follower.has.has(ref) && !follower.heartbeats.some((b) => equal(b, artifact)))
      follower.heartbeats.push(artifact);
    return within;
  }

  #moved(artifact: Uint8Array): boolean {
    const body = TransitionBody.decode(SignedBytes.decode(artifact).body);
    const follower = this.#of(body);
    // Of a ledger that is not shown nothing is compared.
    if (follower === null) return this.#open === "ALL";
    if (follower.beyond.has(toHex(body.basis.beat))) follower.later = true;
    if (follower.later) return false;
    follower.transitions.push(artifact);
    return true;
  }
}

function sizeOf(note: string): number {
  const head = parseCheckpoint(note.slice(0, note.indexOf("\n\n") + 1));
  return isInvalid(head) ? 0 : head.size;
}
