import { equal, text, toHex } from "../domain/bytes.ts";
import { type NoteKey, openNote, originOf } from "../domain/checkpoint.ts";
import type { Crypto } from "../domain/crypto.ts";
import { isInvalid } from "../domain/invalid.ts";
import { keysOf } from "../domain/keyset.ts";
import type { Authority } from "./authority.ts";
import { type Break, broken, codeOf } from "./checks.ts";
import type { Flags } from "./flags.ts";
import type { TrustFile } from "./trust-file.ts";

/** A head that others than its ledger have signed. */
export interface CosignedHead {
  readonly size: number;
  readonly root: Uint8Array;
  /** The control plane's time, microseconds since the epoch; 0: it did not cosign. */
  readonly cosignedAtUs: number;
  /** Names of the trusted witnesses that cosigned it. */
  readonly witnesses: readonly string[];
}

type Vouched = Pick<Authority, "genesis" | "keyset"> & {
  /** Whose line is the ledger's own; absent: the genesis's ledger key's. */
  readonly signers?: readonly Uint8Array[];
};

/**
 * Reads one note: its ledger's own line, and at least one by a cosigner or a witness, must be there
 * and must verify. Names on lines are only names: what counts is the key.
 */
export function proveCheckpoint(
  crypto: Crypto,
  bytes: Uint8Array,
  authority: Vouched,
  trust: TrustFile | null,
  flags: Flags,
): CosignedHead | Break {
  let note: string;
  try {
    note = text(bytes);
  } catch {
    return broken("CHECKPOINT", "E_CP_FIELD", 0, "a checkpoint is not text");
  }
  const ledgerId = authority.genesis.ref;
  const origin = originOf(ledgerId);
  const own = (authority.signers ?? [authority.genesis.body.ledgerKey]).map(
    (key): NoteKey => ({ role: "LEDGER", name: origin, key }),
  );
  const names = [...new Set([...note.matchAll(/^— (\S+) /gmu)].map((m) => m[1] as string))];
  const asCosigner = (key: Uint8Array): NoteKey[] =>
    names.map((name) => ({ role: "COSIGNER", name, key }));
  const cosigners = trust?.cosigners ?? everCosigners(authority);
  const witnesses = trust?.witnesses ?? [];
  const opened = openNote(crypto, note, [
    ...own,
    ...cosigners.flatMap(asCosigner),
    ...witnesses.flatMap((w) => asCosigner(w.key)),
  ]);
  if (isInvalid(opened)) {
    if (isOfAnother(crypto, note, origin)) return otherOrigin();
    return broken("CHECKPOINT", codeOf("CP", opened), 0, opened.detail);
  }
  if (!equal(opened.checkpoint.ledgerId, ledgerId)) return otherOrigin();
  const { size, root } = opened.checkpoint;
  if (!opened.signatures.some((s) => own.includes(s.signer) && s.line === 0)) {
    return broken(
      "CHECKPOINT",
      "E_CP_SIG",
      0,
      `the checkpoint of ${size} does not begin with its ledger's signature`,
    );
  }
  if (opened.unknown.length > 0) flags.raise("UNKNOWN_SIGNER", null, opened.unknown.join(", "));

  const cosignedSeconds = opened.signatures
    .filter((s) => s.timeSeconds !== null && isCosigner(s.signer.key, s.timeSeconds))
    .map((s) => s.timeSeconds as number);
  const seenBy = witnesses
    .filter((w) => opened.signatures.some((s) => equal(s.signer.key, w.key)))
    .map((w) => w.name);
  if (cosignedSeconds.length === 0 && seenBy.length === 0) {
    return broken(
      "CHECKPOINT",
      "E_CP_UNSIGNED",
      0,
      `nobody that is trusted cosigned the checkpoint of ${size}`,
    );
  }
  const cosignedAtUs = Math.max(0, ...cosignedSeconds) * 1_000_000;
  return { size, root, cosignedAtUs, witnesses: seenBy };

  function isCosigner(key: Uint8Array, timeSeconds: number): boolean {
    const valid =
      trust?.cosigners ??
      keysOf(authority.keyset, "COSIGNER", timeSeconds * 1_000_000).map((k) => k.key);
    return valid.some((k) => equal(k, key));
  }
}

/** All that ever were: whether one was valid at its cosignature's time is asked later. */
const everCosigners = ({ keyset }: Vouched): Uint8Array[] =>
  keyset.body.keys.filter((k) => k.role === "COSIGNER").map((k) => k.key);

/** Whether a note is one but for its first line, which names another ledger or none: its form is asked first. */
function isOfAnother(crypto: Crypto, note: string, origin: string): boolean {
  if (!note.startsWith("dragons/ledger/") || note.startsWith(`${origin}\n`)) return false;
  const ours = openNote(crypto, origin + note.slice(note.indexOf("\n")), []);
  return !isInvalid(ours) || ours.code !== "E_ENCODING";
}

const otherOrigin = (): Break =>
  broken("CHECKPOINT", "E_CP_ORIGIN", 0, "the checkpoint is of another ledger");

/** Whether the auditor's quorum of witnesses stands behind a head. */
export const isWitnessed = (head: CosignedHead, trust: TrustFile | null): boolean =>
  trust !== null && trust.quorum > 0 && new Set(head.witnesses).size >= trust.quorum;

export const describeHead = (head: CosignedHead): string =>
  `head ${head.size} (${toHex(head.root).slice(0, 16)}…)`;
