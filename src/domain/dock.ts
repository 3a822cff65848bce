import { compare } from "./bytes.ts";
import { bytes, message, nested, repeated, str, u32, u64 } from "./canonical.ts";
import type { Crypto } from "./crypto.ts";
import type { GrantBody } from "./grant.ts";
import { isId } from "./ids.ts";
import { type Invalid, invalid, isInvalid } from "./invalid.ts";
import { checkSigners, hasKey, type KeysetBody } from "./keyset.ts";
import { dockJoinKeysMax } from "./limits.ts";
import type { SignedBytes, SignedKind, Verified } from "./signed.ts";
import {
  checkInterval,
  checkIssued,
  cites,
  firstOf,
  must,
  openVersion1,
  sameTenant,
} from "./verify.ts";

/** A join key opens ledgers under the dock; its private half is the join token. */
export const JoinKey = message("joinKey", {
  key: bytes(1, 32),
  ledgersMax: u32(2),
});

/** Where instances of one grant come aboard. Signed by operator grant keys. */
export const DockBody = message("dock", {
  version: u32(1),
  dockId: str(2),
  tenantId: str(3),
  grantRef: bytes(4, 32),
  /** Sorted by key. */
  joinKeys: repeated(nested(5, JoinKey)),
  notBeforeUs: u64(6),
  notAfterUs: u64(7),
  issuedAtUs: u64(8),
});
export type DockBody = ReturnType<typeof DockBody.decode>;

export const DOCK: SignedKind<DockBody> = { name: "dock", body: DockBody };

/**
 * Verifies a dock of this grant. That it has expired closes it to new ledgers, see `verifyGenesis`,
 * and not to those born in time.
 */
export function verifyDock(
  crypto: Crypto,
  signed: SignedBytes,
  keyset: Verified<KeysetBody>,
  grant: Verified<GrantBody>,
  nowUs: number,
): Verified<DockBody> | Invalid {
  const opened = openVersion1(crypto, DOCK, signed);
  if (isInvalid(opened)) return opened;
  const { body, signers, verified } = opened;
  return (
    sameTenant("dock.tenantId", body.tenantId, keyset.body.tenantId) ??
    sameTenant("grant.tenantId", grant.body.tenantId, keyset.body.tenantId) ??
    checkIssued("dock.issuedAtUs", body.issuedAtUs, nowUs) ??
    checkSigners("dock", keyset, "OPERATOR_GRANT", signers, {
      signedAtUs: body.issuedAtUs,
      nowUs,
    }) ??
    checkDock(crypto, body) ??
    checkJoinKeysFree(body, keyset) ??
    cites("dock.grantRef", body.grantRef, grant.ref) ??
    verified
  );
}

/** What is wrong with a dock's content; null: nothing. For whoever is about to sign one, too. */
export function checkDock(crypto: Crypto, body: DockBody): Invalid | null {
  return firstOf(
    () => must(isId("dck", body.dockId), "E_FIELD", "dock.dockId is not dck_ and an id"),
    () => must(body.joinKeys.length > 0, "E_FIELD", "dock.joinKeys are none"),
    () =>
      must(
        body.joinKeys.length <= dockJoinKeysMax,
        "E_FIELD",
        `dock.joinKeys are more than ${dockJoinKeysMax}`,
      ),
    () => checkInterval("dock", body),
    () => checkJoinKeys(crypto, body),
  );
}

function checkJoinKeys(crypto: Crypto, body: DockBody): Invalid | null {
  let last: Uint8Array | null = null;
  for (const [i, { key, ledgersMax }] of body.joinKeys.entries()) {
    const field = `dock.joinKeys[${i}]`;
    const weak = key.length === 32 ? crypto.keyProblem(key) : "E_FIELD";
    if (weak !== null) return invalid(weak, `${field}.key is not a public key`);
    if (last !== null && compare(last, key) >= 0) {
      return invalid("E_FIELD", `${field} is not in sorted, unique order`);
    }
    last = key;
    if (ledgersMax < 1) return invalid("E_FIELD", `${field}.ledgersMax is 0, so it opens nothing`);
  }
  return null;
}

function checkJoinKeysFree(body: DockBody, keyset: Verified<KeysetBody>): Invalid | null {
  const taken = body.joinKeys.findIndex((k) => hasKey(keyset, k.key));
  return taken < 0
    ? null
    : invalid("E_FIELD", `dock.joinKeys[${taken}] has a role in the keyset, and a key has but one`);
}
