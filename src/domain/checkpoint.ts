import { concat, equal, fromBase64, fromHex, toBase64, toHex, u64be, utf8 } from "./bytes.ts";
import type { Crypto, Signer } from "./crypto.ts";
import { type Invalid, invalid, isInvalid } from "./invalid.ts";
import { noteSignaturesMax } from "./limits.ts";

/**
 * A ledger's head as a C2SP tlog-checkpoint, carried in a C2SP signed note:
 *
 *     dragons/ledger/<64 hex digits of ledger_id>
 *     42
 *     <root, base64>
 *
 *     — dragons/ledger/<…> <base64 of key hash (4) ‖ Ed25519 over the text above>
 *     — control.example <base64 of key hash (4) ‖ u64be seconds (8) ‖ Ed25519>
 *
 * The ledger key signs the text. A cosigner signs `cosignature/v1\ntime <seconds>\n` before the text:
 * that as of that second this was the largest consistent head it had seen.
 */
export interface Checkpoint {
  readonly ledgerId: Uint8Array;
  readonly size: number;
  readonly root: Uint8Array;
}

const ORIGIN = "dragons/ledger/";
const ALG = { LEDGER: 1, COSIGNER: 4 } as const;

export type NoteRole = keyof typeof ALG;

/** Who may sign a note. Names are non-empty, without spaces or `+`; a ledger's is its origin. */
export interface NoteKey {
  readonly role: NoteRole;
  readonly name: string;
  readonly key: Uint8Array;
}

export const originOf = (ledgerId: Uint8Array): string => `${ORIGIN}${toHex(ledgerId)}`;

/** The note's text: three lines, each ended by a newline. */
export const formatCheckpoint = (c: Checkpoint): string =>
  `${originOf(c.ledgerId)}\n${c.size}\n${toBase64(c.root)}\n`;

const TEXT = /^dragons\/ledger\/([0-9a-f]{64})\n(0|[1-9][0-9]{0,15})\n([A-Za-z0-9+/]{43}=)\n$/;

/** Exactly what `formatCheckpoint` writes; no extension lines. */
export function parseCheckpoint(text: string): Checkpoint | Invalid {
  const match = TEXT.exec(text);
  if (match === null) return invalid("E_ENCODING", "checkpoint: not origin, size, root");
  const [, ledgerId, decimal, base64] = match as unknown as [string, string, string, string];
  const size = Number(decimal);
  if (!Number.isSafeInteger(size)) return invalid("E_ENCODING", "checkpoint: size above 2^53 − 1");
  let root: Uint8Array;
  try {
    root = fromBase64(base64);
  } catch {
    return invalid("E_ENCODING", "checkpoint: root is not canonical base64");
  }
  return { ledgerId: fromHex(ledgerId), size, root };
}

/** First four bytes of `SHA256(name ‖ "\n" ‖ alg ‖ key)`: which key a line means. */
const keyHash = (crypto: Crypto, { role, name, key }: NoteKey): Uint8Array =>
  crypto.sha256(utf8(`${name}\n`), Uint8Array.of(ALG[role]), key).slice(0, 4);

const signatureLine = (name: string, blob: Uint8Array): string => `— ${name} ${toBase64(blob)}\n`;

/** What a role signs. `timeSeconds` is a cosigner's; a ledger's line has none. */
const messageOf = (text: string, timeSeconds: number | null): Uint8Array =>
  utf8(timeSeconds === null ? text : `cosignature/v1\ntime ${timeSeconds}\n${text}`);

/** A note with the ledger key's line. */
export async function signCheckpoint(
  crypto: Crypto,
  checkpoint: Checkpoint,
  ledgerSigner: Signer,
): Promise<string> {
  const text = formatCheckpoint(checkpoint);
  const name = originOf(checkpoint.ledgerId);
  const hash = keyHash(crypto, { role: "LEDGER", name, key: ledgerSigner.publicKey });
  const signature = await ledgerSigner.sign(messageOf(text, null));
  return `${text}\n${signatureLine(name, concat(hash, signature))}`;
}

/**
 * The note with a cosigner's line added. Whoever calls it has checked and stored that this head is
 * consistent with every earlier one: that is what the line says.
 */
export async function cosignCheckpoint(
  crypto: Crypto,
  note: string,
  cosigner: { readonly name: string; readonly signer: Signer },
  timeSeconds: number,
): Promise<string> {
  const parsed = parseNote(note);
  if (isInvalid(parsed)) throw new TypeError(parsed.detail);
  if (!NAME.test(cosigner.name)) throw new TypeError(`no name for a signer: ${cosigner.name}`);
  return note + (await cosignatureLine(crypto, parsed.text, cosigner, timeSeconds));
}

/**
 * The same for a head that came otherwise than in a note: in a heartbeat. The note has the cosigner's
 * line alone; whoever holds the ledger key puts its own line before it.
 */
export async function cosignHead(
  crypto: Crypto,
  checkpoint: Checkpoint,
  cosigner: { readonly name: string; readonly signer: Signer },
  timeSeconds: number,
): Promise<string> {
  const text = formatCheckpoint(checkpoint);
  return `${text}\n${await cosignatureLine(crypto, text, cosigner, timeSeconds)}`;
}

async function cosignatureLine(
  crypto: Crypto,
  text: string,
  { name, signer }: { readonly name: string; readonly signer: Signer },
  timeSeconds: number,
): Promise<string> {
  const hash = keyHash(crypto, { role: "COSIGNER", name, key: signer.publicKey });
  const signature = await signer.sign(messageOf(text, timeSeconds));
  return signatureLine(name, concat(hash, u64be(timeSeconds), signature));
}

export interface NoteSignature {
  readonly signer: NoteKey;
  /** When a cosigner says that it saw this head; null for the ledger's own line. */
  readonly timeSeconds: number | null;
  /** Which of the signature lines it is, from 0. */
  readonly line: number;
}

export interface OpenedNote {
  readonly checkpoint: Checkpoint;
  readonly text: string;
  /** Verified, by keys that were given. At least one. */
  readonly signatures: readonly NoteSignature[];
  /** Names on lines by keys that were not given. Nothing was checked about them. */
  readonly unknown: readonly string[];
}

/**
 * Verifies a note against the keys that are trusted. A line by one of them that does not verify
 * spoils the note; lines by others are named and count for nothing.
 */
export function openNote(
  crypto: Crypto,
  note: string,
  keys: readonly NoteKey[],
): OpenedNote | Invalid {
  const parsed = parseNote(note);
  if (isInvalid(parsed)) return parsed;
  const checkpoint = parseCheckpoint(parsed.text);
  if (isInvalid(checkpoint)) return checkpoint;
  const known = keys.map((key) => ({ key, hash: keyHash(crypto, key) }));
  const signatures: NoteSignature[] = [];
  const unknown: string[] = [];
  const seen = new Set<NoteKey>();
  for (const [line, { name, blob }] of parsed.lines.entries()) {
    const signer = known.find(
      (k) => k.key.name === name && equal(k.hash, blob.subarray(0, 4)),
    )?.key;
    if (signer === undefined) {
      unknown.push(name);
      continue;
    }
    if (seen.has(signer)) return invalid("E_SIGNATURE", `note: ${name} signs twice`);
    seen.add(signer);
    const verified = verifyLine(crypto, parsed.text, signer, blob.subarray(4));
    if (verified === null) {
      return invalid("E_SIGNATURE", `note: signature by ${name} does not verify`);
    }
    signatures.push({ ...verified, line });
  }
  if (signatures.length === 0) return invalid("E_KEY_UNKNOWN", "note: no line by a trusted key");
  return { checkpoint, text: parsed.text, signatures, unknown };
}

function verifyLine(
  crypto: Crypto,
  text: string,
  signer: NoteKey,
  blob: Uint8Array,
): Omit<NoteSignature, "line"> | null {
  let timeSeconds: number | null = null;
  let signature = blob;
  if (signer.role === "COSIGNER") {
    if (blob.length !== 8 + 64) return null;
    const view = new DataView(blob.buffer, blob.byteOffset);
    timeSeconds = view.getUint32(0) * 0x1_0000_0000 + view.getUint32(4);
    if (!Number.isSafeInteger(timeSeconds)) return null;
    signature = blob.subarray(8);
  }
  const message = messageOf(text, timeSeconds);
  return crypto.verify(signer.key, message, signature) ? { signer, timeSeconds } : null;
}

const NAME = /^[^\s+]+$/u;
const LINE = /^— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/u;

interface ParsedNote {
  readonly text: string;
  readonly lines: readonly { name: string; blob: Uint8Array }[];
}

function parseNote(note: string): ParsedNote | Invalid {
  const end = note.indexOf("\n\n");
  if (end < 0 || !note.endsWith("\n"))
    return invalid("E_ENCODING", "note: not text and signatures");
  const raw = note.slice(end + 2, -1).split("\n");
  if (raw.length > noteSignaturesMax) {
    return invalid("E_ENCODING", `note: more than ${noteSignaturesMax} signatures`);
  }
  const lines: { name: string; blob: Uint8Array }[] = [];
  for (const line of raw) {
    const match = LINE.exec(line);
    const blob = match === null ? null : decodeBlob(match[2] as string);
    if (match === null || blob === null) return invalid("E_ENCODING", "note: bad signature line");
    lines.push({ name: match[1] as string, blob });
  }
  return { text: note.slice(0, end + 1), lines };
}

function decodeBlob(base64: string): Uint8Array | null {
  try {
    const blob = fromBase64(base64);
    return blob.length > 4 ? blob : null;
  } catch {
    return null;
  }
}
