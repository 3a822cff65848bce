import { concat, fromBase64, toBase64, utf8 } from "./bytes.ts";
import { type NoteKey, openNote } from "./checkpoint.ts";
import type { Crypto } from "./crypto.ts";
import { type Invalid, invalid, isInvalid } from "./invalid.ts";
import { consistencyLinesMax } from "./limits.ts";

/** An outside witness as C2SP names one: whose cosignatures are believed, and where to ask for them. */
export interface Witness {
  /** The name on its signature lines. */
  readonly name: string;
  readonly key: Uint8Array;
  /** Submission prefix: requests go to `<url>/add-checkpoint`. */
  readonly url: string;
}

const COSIGNATURE_V1 = 4;
const VKEY = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/u;

/** A witness's name and key in C2SP's spelling: `<name>+<key hash, hex>+<base64 of 0x04 ‖ key>`. */
export function parseWitnessKey(crypto: Crypto, vkey: string): NoteKey | Invalid {
  const [, name = "", hash = "", base64 = ""] = VKEY.exec(vkey) ?? [];
  let bytes: Uint8Array;
  try {
    bytes = fromBase64(base64);
  } catch {
    return invalid("E_ENCODING", "it is not name, hash and base64, with a + between them");
  }
  const [algorithm] = bytes;
  const key = bytes.slice(1);
  if (algorithm !== COSIGNATURE_V1 || key.length !== 32) {
    return invalid("E_ENCODING", "it is no Ed25519 key for cosignatures (type 0x04, 32 bytes)");
  }
  const digest = crypto.sha256(utf8(`${name}\n`), bytes);
  if ([...digest.slice(0, 4)].map((b) => b.toString(16).padStart(2, "0")).join("") !== hash) {
    return invalid("E_ENCODING", "its hash is not that of its name and key");
  }
  const problem = crypto.keyProblem(key);
  if (problem !== null) return invalid(problem, "its key is not a sound Ed25519 key");
  return { role: "COSIGNER", name, key };
}

/** The same as text. */
export function formatWitnessKey(crypto: Crypto, { name, key }: Omit<NoteKey, "role">): string {
  const bytes = concat(Uint8Array.of(COSIGNATURE_V1), key);
  const digest = crypto.sha256(utf8(`${name}\n`), bytes);
  const hash = [...digest.slice(0, 4)].map((b) => b.toString(16).padStart(2, "0")).join("");
  return `${name}+${hash}+${toBase64(bytes)}`;
}

/**
 * The body of C2SP tlog-witness's `add-checkpoint`: the size that the witness cosigned last, the proof
 * that its tree begins this one, and the note.
 */
export function addCheckpoint(oldSize: number, proof: readonly Uint8Array[], note: string): string {
  if (proof.length > consistencyLinesMax) throw new RangeError("a proof of more than 63 hashes");
  return `old ${oldSize}\n${proof.map((hash) => `${toBase64(hash)}\n`).join("")}\n${note}`;
}

/**
 * What a witness answered to a note: those of its lines that are this witness's and verify. Others are
 * left out, as the protocol has it.
 */
export function readCosignatures(
  crypto: Crypto,
  note: string,
  answer: string,
  { name, key }: Witness,
): { readonly lines: string; readonly timeSeconds: number } | Invalid {
  const mine = answer.split("\n").filter((line) => line.startsWith(`— ${name} `));
  const [line] = mine;
  if (line === undefined || !answer.endsWith("\n")) {
    return invalid("E_ENCODING", `there is no line by ${name} in its answer`);
  }
  const lines = `${line}\n`;
  const opened = openNote(crypto, `${note}${lines}`, [{ role: "COSIGNER", name, key }]);
  if (isInvalid(opened)) return opened;
  const timeSeconds = opened.signatures[0]?.timeSeconds ?? 0;
  if (timeSeconds === 0) return invalid("E_ENCODING", `${name} gives no time`);
  return { lines, timeSeconds };
}
