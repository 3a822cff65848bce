import { compare, equal, toHex } from "./bytes.ts";
import { bytes, message, nested, oneOf, repeated, str, u32, u64 } from "./canonical.ts";
import type { Crypto } from "./crypto.ts";
import { type Invalid, invalid, isInvalid } from "./invalid.ts";
import { controlCaBytesMax, controlCasMax, keysetKeysMax, nameMax } from "./limits.ts";
import { NAME } from "./manifest.ts";
import type { SignedBytes, SignedKind, Verified } from "./signed.ts";
import { checkInterval, firstOf, isPresent, must, openVersion1 } from "./verify.ts";

/** What a key may do. One key, one role. */
export const KEY_ROLES = [
  "UNSPECIFIED",
  "OPERATOR_GRANT",
  "OPERATOR_LOGIN",
  "ISSUER",
  "COSIGNER",
  "CONTROL_LEDGER",
  "WITNESS",
] as const;
export type KeyRole = (typeof KEY_ROLES)[number];

/** What an operator's login may do; only on OPERATOR_LOGIN keys. */
export const LOGIN_ROLES = ["UNSPECIFIED", "VIEWER", "OPERATOR", "ADMIN"] as const;
export type LoginRole = (typeof LOGIN_ROLES)[number];

export const KeyEntry = message("key", {
  role: oneOf(1, KEY_ROLES),
  key: bytes(2, 32),
  /** Half-open interval of use, microseconds since the epoch. */
  notBeforeUs: u64(3),
  notAfterUs: u64(4),
  /** Who holds it, for people: `alice`. */
  holder: str(5),
  /** From here on nothing it signed counts; 0: not compromised. */
  compromisedFromUs: u64(6),
  loginRole: oneOf(7, LOGIN_ROLES),
});
export type KeyEntry = ReturnType<typeof KeyEntry.decode>;

/** How many distinct keys of a role must sign; absent roles need one. */
export const Threshold = message("threshold", {
  role: oneOf(1, KEY_ROLES),
  signatures: u32(2),
});

/** Signed by the tenant root: the only place that says which keys speak for the tenant. */
export const KeysetBody = message("keyset", {
  version: u32(1),
  tenantId: str(2),
  /** From 1; sidecars and verifiers refuse a lower one than they have seen. */
  keysetVersion: u64(3),
  issuedAtUs: u64(4),
  /** Sorted by role, then key; unique. */
  keys: repeated(nested(5, KeyEntry)),
  thresholds: repeated(nested(6, Threshold)),
  /** ref(keyset) of the version before; absent for the first. */
  previous: bytes(7, 32),
  /** The tenant root from the next version on, which signs this one as well; absent: it stays. */
  rootKey: bytes(8, 32),
  /**
   * Authorities that the control plane's TLS certificate may come from, X.509 in DER; ascending,
   * unique. Absent: the one that the join token pins.
   */
  controlCas: repeated(bytes(9)),
});
export type KeysetBody = ReturnType<typeof KeysetBody.decode>;

export const KEYSET: SignedKind<KeysetBody> = { name: "keyset", body: KeysetBody };

/**
 * Verifies a keyset by the pinned tenant root, which alone signs it; one that hands over to another
 * root is signed by both, and holds by either. `atLeastVersion` is the highest
 * version seen so far (0: none): a lower one is a rollback. Which tenant it speaks for is in the body:
 * whoever pinned the root compares.
 */
export function verifyKeyset(
  crypto: Crypto,
  signed: SignedBytes,
  rootKey: Uint8Array,
  atLeastVersion: number,
): Verified<KeysetBody> | Invalid {
  const opened = openVersion1(crypto, KEYSET, signed);
  if (isInvalid(opened)) return opened;
  const { body, signers, verified } = opened;
  const successor = isPresent(body.rootKey) ? [body.rootKey] : [];
  const signs = (key: Uint8Array): boolean => signers.some((s) => equal(s, key));
  return (
    must(
      signers.length === 1 + successor.length && [rootKey, ...successor].every(signs),
      "E_KEY_UNKNOWN",
      "keyset: signed by another key than the tenant root",
    ) ??
    checkKeyset(crypto, body, rootKey) ??
    must(
      body.keysetVersion >= atLeastVersion,
      "E_ROLLBACK",
      `keyset: version ${body.keysetVersion}, and version ${atLeastVersion} was seen before`,
    ) ??
    verified
  );
}

/** Whose word counts after this keyset: the root that signed it, or the one that it hands over to. */
export const rootAfter = ({ body }: Verified<KeysetBody>, rootKey: Uint8Array): Uint8Array =>
  isPresent(body.rootKey) ? body.rootKey : rootKey;

/** What is wrong with a keyset's content; null: nothing. For whoever is about to sign one, too. */
export function checkKeyset(crypto: Crypto, body: KeysetBody, rootKey: Uint8Array): Invalid | null {
  return firstOf(
    () => must(NAME.test(body.tenantId), "E_FIELD", "keyset.tenantId is not a tenant's name"),
    () => must(body.keysetVersion >= 1, "E_FIELD", "keyset.keysetVersion counts from 1"),
    () => must(body.issuedAtUs > 0, "E_FIELD", "keyset.issuedAtUs is absent"),
    () =>
      must(
        body.keysetVersion > 1 === isPresent(body.previous),
        "E_FIELD",
        "keyset.previous stands in every version but the first",
      ),
    () => checkSuccessor(crypto, body),
    () => checkKeys(crypto, body.keys, [rootKey, body.rootKey]),
    () => checkThresholds(body),
    () => checkControlCas(body.controlCas),
  );
}

function checkSuccessor(crypto: Crypto, { rootKey, keysetVersion }: KeysetBody): Invalid | null {
  if (!isPresent(rootKey)) return null;
  const weak = crypto.keyProblem(rootKey);
  if (weak !== null) return invalid(weak, "keyset.rootKey is not a public key");
  const first = "keyset.rootKey: the first keyset is signed by the root that it begins with";
  return must(keysetVersion > 1, "E_FIELD", first);
}

function checkKeys(
  crypto: Crypto,
  keys: readonly KeyEntry[],
  roots: readonly Uint8Array[],
): Invalid | null {
  if (keys.length > keysetKeysMax) {
    return invalid("E_FIELD", `keyset.keys: ${keys.length} are more than ${keysetKeysMax}`);
  }
  const seen = new Set(roots.map(toHex));
  let last: KeyEntry | null = null;
  for (const [i, entry] of keys.entries()) {
    const field = `keyset.keys[${i}]`;
    const hex = toHex(entry.key);
    const weak = entry.key.length === 32 ? crypto.keyProblem(entry.key) : "E_FIELD";
    if (weak !== null) return invalid(weak, `${field}.key is not a public key`);
    if (entry.role === "UNSPECIFIED") return invalid("E_FIELD", `${field}.role is absent`);
    if (last !== null && compareEntries(last, entry) >= 0) {
      return invalid("E_FIELD", `${field} is not in order by role, then key`);
    }
    last = entry;
    if (seen.has(hex)) {
      return invalid("E_FIELD", `${field}: key ${hex} has a role already, and a key has but one`);
    }
    seen.add(hex);
    const isLogin = entry.role === "OPERATOR_LOGIN";
    const problem =
      checkInterval(field, entry) ??
      must(
        isLogin === (entry.loginRole !== "UNSPECIFIED"),
        "E_FIELD",
        `${field}.loginRole stands on OPERATOR_LOGIN keys, and on them alone`,
      ) ??
      must(
        entry.holder.length <= nameMax && !/\p{Cc}/u.test(entry.holder),
        "E_FIELD",
        `${field}.holder is not a name of at most ${nameMax} characters`,
      );
    if (problem !== null) return problem;
  }
  return null;
}

const compareEntries = (a: KeyEntry, b: KeyEntry): number =>
  KEY_ROLES.indexOf(a.role) - KEY_ROLES.indexOf(b.role) || compare(a.key, b.key);

function checkThresholds(body: KeysetBody): Invalid | null {
  let last = 0;
  for (const { role, signatures } of body.thresholds) {
    const field = `keyset.thresholds[${role}]`;
    const order = KEY_ROLES.indexOf(role);
    const keys = body.keys.filter((k) => k.role === role).length;
    if (order <= last) return invalid("E_FIELD", `${field} is not in sorted, unique order`);
    last = order;
    if (signatures < 1 || signatures > keys) {
      return invalid("E_FIELD", `${field} is ${signatures}, of ${keys} keys`);
    }
    if (signatures > 1 && role !== "OPERATOR_GRANT") {
      // Everything else carries one signature; a bar that nobody holds it to must not be stated.
      return invalid("E_FIELD", `${field}: only OPERATOR_GRANT signs by more than one key`);
    }
  }
  return null;
}

/** Whether they are certificates is for whoever can read one; here they are bytes. */
function checkControlCas(cas: readonly Uint8Array[]): Invalid | null {
  if (cas.length > controlCasMax) {
    return invalid("E_FIELD", `keyset.controlCas: ${cas.length} are more than ${controlCasMax}`);
  }
  for (const [i, ca] of cas.entries()) {
    const field = `keyset.controlCas[${i}]`;
    if (ca.length < 1 || ca.length > controlCaBytesMax) {
      return invalid("E_FIELD", `${field} has ${ca.length} bytes, not 1 to ${controlCaBytesMax}`);
    }
    const before = cas[i - 1];
    if (before !== undefined && compare(before, ca) >= 0) {
      return invalid("E_FIELD", `${field} is not in sorted, unique order`);
    }
  }
  return null;
}

/** The keys of a role that speak at `nowUs`: inside their interval and not compromised. */
export const keysOf = (
  keyset: Verified<KeysetBody>,
  role: KeyRole,
  nowUs: number,
): readonly KeyEntry[] =>
  keyset.body.keys.filter((k) => k.role === role && keyState(k, nowUs, nowUs) === null);

/** How many distinct keys of a role must sign. */
const thresholdOf = (keyset: Verified<KeysetBody>, role: KeyRole): number =>
  keyset.body.thresholds.find((t) => t.role === role)?.signatures ?? 1;

/**
 * The key that signs the control plane's ledger of the tenant from the record after this keyset on: of
 * its CONTROL_LEDGER keys the one that begins last, of two at once the greater. One at each place of
 * the chain, whatever its interval: the keyset that would help is recorded by it. Null: none is named.
 */
export const controlLedgerKey = ({ keys }: KeysetBody): Uint8Array | null =>
  keys
    .filter((k) => k.role === "CONTROL_LEDGER")
    .reduce<KeyEntry | null>((a, b) => (a !== null && a.notBeforeUs > b.notBeforeUs ? a : b), null)
    ?.key ?? null;

/**
 * A key that this keyset names and `next` does not, in the same role; null: none. What a key signed is
 * judged by the newest keyset alone, so one that was dropped would take its grants, revocations and
 * receipts with it unseen. Keys end by their interval, or are marked as compromised.
 */
export const droppedKey = (before: KeysetBody, next: KeysetBody): KeyEntry | null =>
  before.keys.find(
    ({ role, key }) => !next.keys.some((k) => k.role === role && equal(k.key, key)),
  ) ?? null;

/** Whether a key has any role in the keyset, so that it may not take another. */
export const hasKey = (keyset: Verified<KeysetBody>, key: Uint8Array): boolean =>
  keyset.body.keys.some((k) => equal(k.key, key));

/**
 * Whether these signers may say this: every one a key of the role, inside its interval at the time of
 * signing, enough of them for the threshold. A key known to be compromised by `nowUs` counts for
 * nothing, whatever time its holder wrote; who judges the past passes the time at which the signature
 * was proven to exist.
 */
export function checkSigners(
  name: string,
  keyset: Verified<KeysetBody>,
  role: KeyRole,
  signers: readonly Uint8Array[],
  times: { readonly signedAtUs: number; readonly nowUs: number },
): Invalid | null {
  const wanted = thresholdOf(keyset, role);
  let good = 0;
  let spoiled: Invalid | null = null;
  for (const signer of signers) {
    const entry = keyset.body.keys.find((k) => k.role === role && equal(k.key, signer));
    if (entry === undefined) return notOfRole(name, role, signer);
    const code = keyState(entry, times.signedAtUs, times.nowUs);
    if (code === null) good++;
    else spoiled ??= invalid(code, `${name}: ${role} key ${toHex(signer)}`);
  }
  if (role !== "OPERATOR_GRANT" && signers.length !== 1) {
    return invalid("E_SIGNATURE", `${name}: ${signers.length} signatures, and it carries one`);
  }
  if (good >= wanted) return null;
  return (
    spoiled ?? invalid("E_THRESHOLD", `${name}: ${good} of ${wanted} ${role} keys have signed`)
  );
}

/**
 * Whether these are enough keys of the role, be they expired or given up by now: for what takes
 * authority away, which no later change of a key may undo.
 */
export function checkRoles(
  name: string,
  keyset: Verified<KeysetBody>,
  role: KeyRole,
  signers: readonly Uint8Array[],
): Invalid | null {
  const foreign = signers.find(
    (key) => !keyset.body.keys.some((k) => k.role === role && equal(k.key, key)),
  );
  if (foreign !== undefined) return notOfRole(name, role, foreign);
  // A threshold that was raised since then does not make what was said by fewer unsaid.
  if (role === "OPERATOR_GRANT" || signers.length === 1) return null;
  return invalid("E_SIGNATURE", `${name}: ${signers.length} signatures, and it carries one`);
}

const notOfRole = (name: string, role: KeyRole, key: Uint8Array): Invalid =>
  invalid("E_KEY_UNKNOWN", `${name}: ${toHex(key)} is no ${role} key of the keyset`);

/**
 * Until when `checkSigners` says of a signature what it says now: no key of the keyset begins to count as
 * compromised before. Infinity: for as long as this keyset is the newest.
 */
export const verdictsUntilUs = ({ body }: Verified<KeysetBody>, nowUs: number): number =>
  Math.min(
    ...body.keys.map((k) => (k.compromisedFromUs > nowUs ? k.compromisedFromUs : NEVER_US)),
    NEVER_US,
  );

/** Until when `keysOf` answers as it does now: no key begins or ends before, in whatever way. */
export const keysChangeUs = ({ body }: Verified<KeysetBody>, nowUs: number): number =>
  Math.min(
    ...body.keys
      .flatMap((k) => [k.notBeforeUs, k.notAfterUs, k.compromisedFromUs])
      .filter((us) => us > nowUs),
    NEVER_US,
  );

const NEVER_US = Number.POSITIVE_INFINITY;

function keyState(
  key: KeyEntry,
  signedAtUs: number,
  nowUs: number,
): "E_KEY_EXPIRED" | "E_KEY_COMPROMISED" | null {
  if (key.compromisedFromUs !== 0 && nowUs >= key.compromisedFromUs) return "E_KEY_COMPROMISED";
  if (signedAtUs < key.notBeforeUs || signedAtUs >= key.notAfterUs) return "E_KEY_EXPIRED";
  return null;
}
