import { equal, toHex } from "../../domain/bytes.ts";
import type { Signer } from "../../domain/crypto.ts";
import { type KeyEntry, type KeyRole, type KeysetBody, keysOf } from "../../domain/keyset.ts";
import { clockSkewMaxUs } from "../../domain/limits.ts";
import type { Verified } from "../../domain/signed.ts";
import { KeyRole as WireRole } from "../../gen/dragons/v1/artifacts_pb.ts";
import type { Control } from "../client.ts";
import { EXIT, Failure } from "../failure.ts";
import { type Amending, amendKeyset, sorted } from "./operator.ts";

/** Whose next key the control plane makes by itself. */
const OURS = {
  ISSUER: WireRole.ISSUER,
  COSIGNER: WireRole.COSIGNER,
  CONTROL_LEDGER: WireRole.CONTROL_LEDGER,
} as const;
type Ours = keyof typeof OURS;
const isOurs = (role: KeyRole): role is Ours => role in OURS;

export interface Rotation {
  /** `issuer`, `cosigner`, `control-ledger`, or a key of the keyset in hex, from 8 digits on. */
  readonly which: string;
  /** Public key that takes its place; null: the control plane makes it. */
  readonly to: Uint8Array | null;
  /** For how long the old one may still sign. Microseconds. */
  readonly overlapUs: number;
  /** How long the new one is good for. Microseconds. */
  readonly ttlUs: number;
  /** When the old one fell into other hands; null: it did not. */
  readonly compromisedFromUs: number | null;
}

/**
 * Puts another key in the place of one: same role, same holder. The old one goes on for the overlap,
 * since what it signs may be under way, and is never taken out: what it signed must stay verifiable.
 */
export async function rotateKey(
  control: Control,
  amending: Amending,
  { which, to, overlapUs, ttlUs, compromisedFromUs }: Rotation,
): Promise<{ readonly version: number; readonly from: string; readonly to: string }> {
  let replaced: { from: string; to: string } | null = null;
  const { version } = await amendKeyset(control, amending, async (keyset, nowUs) => {
    const old = findKey(keyset, which, nowUs);
    const key = to ?? (await nextOf(control, old));
    replaced = { from: toHex(old.key), to: toHex(key) };
    const end = { notAfterUs: Math.min(old.notAfterUs, nowUs + overlapUs) };
    const gone = compromisedFromUs === null ? end : { compromisedFromUs };
    const fresh: KeyEntry = {
      ...old,
      key,
      // Of two keys the one that begins later speaks, whoever's clock was behind when it was added.
      notBeforeUs: Math.max(nowUs - clockSkewMaxUs, old.notBeforeUs + 1),
      notAfterUs: nowUs + ttlUs,
      compromisedFromUs: 0,
    };
    return { keys: sorted([...replacing(keyset, old, gone), fresh]) };
  });
  return { version, ...(replaced as unknown as { from: string; to: string }) };
}

async function nextOf(control: Control, { role }: KeyEntry): Promise<Uint8Array> {
  if (!isOurs(role)) {
    throw new Failure(
      EXIT.usage,
      "--to: name the key that takes its place; its holder makes it with: dragons operator keygen FILE",
    );
  }
  return Uint8Array.from((await control.keys.prepareKey({ role: OURS[role] })).key);
}

/** Changes what the keyset says of one key. */
export function changeKey(
  control: Control,
  amending: Amending,
  which: string,
  change: (key: KeyEntry, nowUs: number) => Partial<KeyEntry>,
): Promise<{ readonly version: number }> {
  return amendKeyset(control, amending, async (keyset, nowUs) => {
    const old = findKey(keyset, which, nowUs);
    return { keys: replacing(keyset, old, change(old, nowUs)) };
  });
}

/** How many operators must sign grants, docks and revocations. */
export const setThreshold = (
  control: Control,
  amending: Amending,
  signatures: number,
): Promise<{ readonly version: number }> =>
  amendKeyset(control, amending, async () => ({
    thresholds: signatures === 1 ? [] : [{ role: "OPERATOR_GRANT", signatures }],
  }));

const replacing = (
  { body }: Verified<KeysetBody>,
  old: KeyEntry,
  change: Partial<KeyEntry>,
): KeyEntry[] => body.keys.map((k) => (equal(k.key, old.key) ? { ...k, ...change } : k));

/** @throws Failure when there is none, or more than one. */
function findKey(keyset: Verified<KeysetBody>, which: string, nowUs: number): KeyEntry {
  const role = which.toUpperCase().replace("-", "_") as KeyRole;
  const found = isOurs(role)
    ? keysOf(keyset, role, nowUs).slice().sort(newestLast).slice(-1)
    : keyset.body.keys.filter(
        (k) => /^[0-9a-f]{8,64}$/.test(which) && toHex(k.key).startsWith(which),
      );
  const [only] = found;
  if (only !== undefined && found.length === 1) return only;
  throw new Failure(
    EXIT.usage,
    `key: ${found.length === 0 ? "none" : "more than one"} in keyset ${keyset.body.keysetVersion} is ${which}; ` +
      "write issuer, cosigner, control-ledger, or the first 8 digits or more that are shown by: dragons operator list",
  );
}

const newestLast = (a: KeyEntry, b: KeyEntry): number => a.notBeforeUs - b.notBeforeUs;

/**
 * Names these authorities of the control plane's certificate, DER, and no others: sidecars believe
 * them from the keyset on.
 */
export const nameControlCas = (
  control: Control,
  amending: Amending,
  controlCas: Uint8Array[],
): Promise<{ readonly version: number }> =>
  amendKeyset(control, amending, async ({ body }) => {
    const named = new Set(body.controlCas.map(toHex));
    if (named.size === controlCas.length && controlCas.every((ca) => named.has(toHex(ca)))) {
      throw new Failure(
        EXIT.usage,
        `keyset ${body.keysetVersion} names the very authorities that --control-ca holds; ` +
          "the next is made where the control plane runs: dragons control ca next",
      );
    }
    return { controlCas };
  });

/** Hands the tenant over to another root: both sign this keyset, and the new one all that follow. */
export const rotateRoot = (
  control: Control,
  amending: Amending,
  root: Signer,
): Promise<{
  readonly version: number;
  readonly signed: import("../../domain/signed.ts").SignedBytes;
}> =>
  amendKeyset(control, { ...amending, signers: [...amending.signers, root] }, async () => ({
    rootKey: root.publicKey,
  }));
