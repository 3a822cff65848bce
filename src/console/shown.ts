import { text, toHex } from "../domain/bytes.ts";
import { type Codec, CodecError } from "../domain/canonical.ts";
import { leafHash } from "../domain/chain.ts";
import { ClaimBody } from "../domain/claim.ts";
import type { Crypto } from "../domain/crypto.ts";
import { UNLIMITED } from "../domain/grant.ts";
import {
  ActionBody,
  EvidenceBody,
  GoalBody,
  OutcomeBody,
  PAYLOAD_FIELDS,
  type PayloadField,
  PayloadRow,
} from "../domain/payload.ts";
import { isPrintable } from "../domain/printable.ts";
import { ReceiptHeader } from "../domain/receipt.ts";
import { RecordBody } from "../domain/record.ts";
import { SignedBytes } from "../domain/signed.ts";
import { ProofFrame, ReceiptFrame } from "../verifier/pack.ts";
import type { Place } from "./row.ts";

/** One fact of a receipt. Texts are the pack's own words; hashes are hex, times microseconds. */
export type Entry =
  | { readonly is: "text" | "hash"; readonly label: string; readonly value: string }
  | { readonly is: "time" | "count"; readonly label: string; readonly value: number };

export interface Step {
  readonly field: PayloadField;
  /** UNREADABLE: it is open, and not of the form that its receipt's kind asks for. */
  readonly state: "SHOWN" | "WITHHELD" | "EMPTY" | "UNREADABLE";
  /** Hex: what the receipt's signature covers in the field's place. */
  readonly commitment: string;
  readonly entries: readonly Entry[];
}

/** A receipt laid open for reading. That it holds is the verifier's to say, not this one's. */
export interface Shown {
  readonly header: ReceiptHeaderShown;
  /** H, hex. */
  readonly hash: string;
  readonly steps: readonly Step[];
}

/** The header as it was signed, with its bytes as hex. */
export type ReceiptHeaderShown = {
  readonly [K in keyof ReceiptHeader]: ReceiptHeader[K] extends Uint8Array
    ? string
    : ReceiptHeader[K];
};

/** @throws CodecError when the bytes are no receipt. */
export function showReceipt(crypto: Crypto, frame: Place["frame"], bytes: Uint8Array): Shown {
  const { signed, row } = (frame === "PROOF" ? ProofFrame : ReceiptFrame).decode(bytes);
  const { body } = SignedBytes.decode(signed);
  const { commitments, openings } = PayloadRow.decode(row);
  const header = ReceiptHeader.decode(body);
  const readers = header.kind === "RECORD" ? RECORD_READERS : READERS;
  return {
    header: inHex(header),
    hash: toHex(leafHash(crypto, body)),
    steps: PAYLOAD_FIELDS.map((field, i) => {
      const opening = openings.find((o) => o.field === i + 1);
      const commitment = toHex(commitments[i] ?? new Uint8Array(0));
      if (opening === undefined) return { field, state: "WITHHELD", commitment, entries: [] };
      return { field, commitment, ...read(readers[field], opening.data) };
    }),
  };
}

function inHex(header: ReceiptHeader): ReceiptHeaderShown {
  const pairs = Object.entries(header).map(([name, value]) => [
    name,
    value instanceof Uint8Array ? toHex(value) : value,
  ]);
  return Object.fromEntries(pairs) as ReceiptHeaderShown;
}

type Reader = (data: Uint8Array) => Entry[];

const READERS: Record<PayloadField, Reader> = {
  goal: reader(GoalBody, ({ purpose, goal, traceparent }) => [
    words("The grant's purpose", purpose),
    words("Goal of this run", goal),
    words("Trace", traceparent),
  ]),
  action: reader(ActionBody, (a) => [
    words("Protocol", known(a.protocol)),
    words("At", a.target),
    words("Verb", a.verb),
    words("Path", a.path),
    words("Reached by", known(a.scheme)),
    words("Headers", a.headerNames.join(", ")),
    hash("SHA-256 of the query", a.querySha256),
    hash("SHA-256 of the body", a.bodySha256),
    count("Bytes of body", a.bodyBytes),
    count("Messages", a.messages),
  ]),
  evidence: reader(EvidenceBody, (e) => [
    words("Dialled", e.dialled),
    hash("Peer's certificate", e.peerCertificate),
    ...e.leases.map((lease, i) => hash(i === 0 ? "Lease at the opening" : "Lease after it", lease)),
    time("First byte", e.firstByteUs),
    words("The agent was measured by", known(e.measure)),
    words("Enforcement", known(e.enforcement)),
  ]),
  outcome: reader(OutcomeBody, (o) => [
    words("Status", o.status),
    words("Headers", o.headerNames.join(", ")),
    words("Trailers", o.trailerNames.join(", ")),
    hash("SHA-256 of the body", o.bodySha256),
    count("Bytes of body", o.bodyBytes),
    count("Messages", o.messages),
  ]),
  claim: reader(ClaimBody, (c) => [
    words("Protocol", known(c.protocol)),
    words("At", c.target),
    words("Verb", c.verb),
    words("Path", c.path),
    words("Reached by", known(c.scheme)),
    ...c.inputs.map(({ name, value }) => words(name, String(value))),
    ...c.limitState.flatMap((l) => [
      words("Decided in scope", l.scope),
      left("Actions left", l.actionsLeft),
      left("Bytes left", l.bytesLeft),
      left("At once left", l.concurrentLeft),
      left("This minute left", l.rateLeft),
    ]),
  ]),
};

/** What the control plane records: what it is, who asked, and the recorded bytes themselves. */
const RECORD_READERS: typeof READERS = {
  ...READERS,
  action: reader(RecordBody, (r) => [
    words("Recorded", known(r.what)),
    words("Asked by", r.method),
    hash("Operator", r.actor),
    words("Request", r.requestId),
  ]),
  outcome: (data) => [raw(data)],
};

function read(entries: Reader, data: Uint8Array): Pick<Step, "state" | "entries"> {
  if (data.length === 0) return { state: "EMPTY", entries: [] };
  try {
    return { state: "SHOWN", entries: entries(data) };
  } catch (error) {
    if (!(error instanceof CodecError)) throw error;
    return { state: "UNREADABLE", entries: [raw(data)] };
  }
}

function reader<T>(codec: Codec<T>, entries: (body: T) => (Entry | null)[]) {
  return (data: Uint8Array) => entries(codec.decode(data)).filter((e) => e !== null);
}

/** Of what has no form: as text where it is text, else as hex. */
function raw(data: Uint8Array): Entry {
  try {
    const value = text(data);
    if (isPrintable(value)) return { is: "text", label: "As text", value };
  } catch {
    // Not UTF-8.
  }
  return { is: "hash", label: "As bytes", value: toHex(data) };
}

const words = (label: string, value: string): Entry | null =>
  value === "" ? null : { is: "text", label, value };
const hash = (label: string, bytes: Uint8Array): Entry | null =>
  bytes.length === 0 ? null : { is: "hash", label, value: toHex(bytes) };
const count = (label: string, value: number): Entry => ({ is: "count", label, value });
const time = (label: string, value: number): Entry | null =>
  value === 0 ? null : { is: "time", label, value };
const left = (label: string, value: number): Entry | null =>
  value === UNLIMITED ? null : count(label, value);
const known = (name: string): string => (name === "UNSPECIFIED" ? "" : name);
