import { compare, toHex } from "../../domain/bytes.ts";
import type { Signer } from "../../domain/crypto.ts";
import { isInvalid } from "../../domain/invalid.ts";
import {
  checkKeyset,
  hasKey,
  KEY_ROLES,
  KEYSET,
  type KeyEntry,
  type KeyRole,
  type KeysetBody,
  type LoginRole,
  rootAfter,
  verifyKeyset,
} from "../../domain/keyset.ts";
import { clockSkewMaxUs } from "../../domain/limits.ts";
import type { SignedBytes, Verified } from "../../domain/signed.ts";
import { signBody } from "../../domain/signing.ts";
import { native } from "../../native/crypto.ts";
import { fromWire, toWire } from "../../wire/artifacts.ts";
import type { Control } from "../client.ts";
import { EXIT, Failure } from "../failure.ts";
import { type Outlet, recordedAt } from "./proposal.ts";

/** A key that the tenant root is to speak for. */
export interface NewKey {
  readonly role: Exclude<KeyRole, "UNSPECIFIED">;
  /** Ed25519 public key, 32 bytes. */
  readonly key: Uint8Array;
  readonly holder: string;
  /** Of OPERATOR_LOGIN keys, and of them alone. */
  readonly loginRole?: Exclude<LoginRole, "UNSPECIFIED">;
  /** Microseconds that it is good for, from now. */
  readonly ttlUs: number;
}

/** A key of the keyset, as it is shown. Times are microseconds, keys hex. */
export interface KeyView {
  readonly holder: string;
  readonly role: KeyRole;
  readonly loginRole: LoginRole;
  readonly key: string;
  readonly notBeforeUs: number;
  readonly notAfterUs: number;
  readonly compromisedFromUs: number;
}

/**
 * The tenant's keyset, verified by the root key that the caller pins.
 * @throws Failure when the control plane hands out one that the root did not sign.
 */
export async function readKeyset(
  control: Control,
  rootKey: Uint8Array,
): Promise<Verified<KeysetBody>> {
  const { keyset } = await control.keys.getKeyset({});
  const signed = fromWire(keyset, "keyset");
  const verified = isInvalid(signed) ? signed : verifyKeyset(native, signed, rootKey, 1);
  if (isInvalid(verified)) {
    throw new Failure(
      EXIT.refused,
      `the keyset of tenant ${control.tenant} is not to be trusted: ${verified.detail} (${verified.code}); if the root was rotated: dragons trust adopt FILE`,
    );
  }
  return verified;
}

export async function listKeys(
  control: Control,
  rootKey: Uint8Array,
): Promise<{ readonly version: number; readonly keys: readonly KeyView[] }> {
  const { body } = await readKeyset(control, rootKey);
  const keys = body.keys.map((k) => ({
    holder: k.holder,
    role: k.role,
    loginRole: k.loginRole,
    key: toHex(k.key),
    notBeforeUs: k.notBeforeUs,
    notAfterUs: k.notAfterUs,
    compromisedFromUs: k.compromisedFromUs,
  }));
  return { version: body.keysetVersion, keys };
}

/** How the next keyset comes about. */
export interface Amending {
  /** The tenant root that is pinned. */
  readonly rootKey: Uint8Array;
  /** Who signs here and now: the root, or nobody where it is only proposed. */
  readonly signers: readonly Signer[];
  readonly outlet: Outlet;
}

/** Signs and records at once. */
export const byRoot = (control: Control, root: Signer): Amending => ({
  rootKey: root.publicKey,
  signers: [root],
  outlet: recordedAt(control),
});

/** The next version of the keyset, with these changes. */
export async function amendKeyset(
  control: Control,
  { rootKey, signers, outlet }: Amending,
  change: (current: Verified<KeysetBody>, nowUs: number) => Promise<Partial<KeysetBody>>,
): Promise<{ readonly version: number; readonly signed: SignedBytes }> {
  const current = await readKeyset(control, rootKey);
  const nowUs = control.clock.nowUs();
  const body: KeysetBody = {
    ...current.body,
    rootKey: new Uint8Array(0),
    ...(await change(current, nowUs)),
    keysetVersion: current.body.keysetVersion + 1,
    issuedAtUs: nowUs,
    previous: current.ref,
  };
  const problem = checkKeyset(native, body, rootAfter(current, rootKey));
  if (problem !== null) throw new Failure(EXIT.usage, problem.detail);
  const signed = await signBody(KEYSET, body, signers);
  await outlet("keyset", signed);
  return { version: body.keysetVersion, signed };
}

/** The next version of the keyset with these keys added. */
export function addKeys(
  control: Control,
  amending: Amending,
  added: readonly NewKey[],
): Promise<{ readonly version: number }> {
  return amendKeyset(control, amending, async (current, nowUs) => {
    const taken = added.find((k) => hasKey(current, k.key));
    if (taken !== undefined) {
      throw new Failure(
        EXIT.usage,
        `key ${toHex(taken.key)} has a role in the keyset already; make another with: dragons operator keygen`,
      );
    }
    return { keys: sorted([...current.body.keys, ...added.map((k) => entryOf(k, nowUs))]) };
  });
}

/** Signs what is sound. @throws Failure naming the field that is not. */
export async function signKeyset(body: KeysetBody, root: Signer) {
  const problem = checkKeyset(native, body, root.publicKey);
  if (problem !== null) throw new Failure(EXIT.usage, problem.detail);
  return toWire(await signBody(KEYSET, body, [root]));
}

/** Good from a moment ago, since other clocks may be behind ours. */
export const entryOf = (k: NewKey, nowUs: number): KeyEntry => ({
  role: k.role,
  key: k.key,
  notBeforeUs: nowUs - clockSkewMaxUs,
  notAfterUs: nowUs + k.ttlUs,
  holder: k.holder,
  compromisedFromUs: 0,
  loginRole: k.loginRole ?? "UNSPECIFIED",
});

/** As keysets want them: by role, then key. */
export const sorted = (keys: readonly KeyEntry[]): KeyEntry[] =>
  [...keys].sort(
    (a, b) => KEY_ROLES.indexOf(a.role) - KEY_ROLES.indexOf(b.role) || compare(a.key, b.key),
  );
