import { equal } from "./bytes.ts";
import { bytes, message, oneOf, str, u32, u64 } from "./canonical.ts";
import type { Crypto } from "./crypto.ts";
import type { DockBody } from "./dock.ts";
import { isInstanceId } from "./ids.ts";
import { type Invalid, invalid, isInvalid } from "./invalid.ts";
import { checkSigners, type KeysetBody } from "./keyset.ts";
import type { SignedBytes, SignedKind, Verified } from "./signed.ts";
import {
  checkCurrent,
  cites,
  firstOf,
  isPresent,
  must,
  openVersion1,
  sameTenant,
} from "./verify.ts";

/** WORK: an instance's ledger. CONTROL: the control plane's ledger of one tenant. */
const LEDGER_ROLES = ["UNSPECIFIED", "WORK", "CONTROL"] as const;

/**
 * The birth of a ledger: binds its key, tenant, manifest and dock. Signed by a join key that the
 * dock names and by the ledger key itself; a CONTROL genesis by its CONTROL_LEDGER key alone.
 * `ledger_id` = ref(genesis).
 */
export const GenesisBody = message("genesis", {
  version: u32(1),
  role: oneOf(2, LEDGER_ROLES),
  tenantId: str(3),
  /** 32 hex digits of a UUIDv7; absent for CONTROL. */
  instanceId: str(4),
  ledgerKey: bytes(5, 32),
  manifestHash: bytes(6, 32),
  dockRef: bytes(7, 32),
  joinKey: bytes(8, 32),
  /** Random, so that no two ledgers are born alike. */
  nonce: bytes(9, 32),
  createdAtUs: u64(10),
  /** ledger_id of the ledger that this one succeeds; absent for the first. */
  predecessor: bytes(11, 32),
});
export type GenesisBody = ReturnType<typeof GenesisBody.decode>;

export const GENESIS: SignedKind<GenesisBody> = { name: "genesis", body: GenesisBody };

/**
 * Verifies the birth of a work ledger: signed by a join key that the dock names and by the ledger key,
 * exactly these two, while the dock was open. `ref` of the result is the ledger_id.
 */
export function verifyGenesis(
  crypto: Crypto,
  signed: SignedBytes,
  dock: Verified<DockBody>,
): Verified<GenesisBody> | Invalid {
  const opened = openVersion1(crypto, GENESIS, signed);
  if (isInvalid(opened)) return opened;
  const { body, signers, verified } = opened;
  const names = (key: Uint8Array) => dock.body.joinKeys.some((j) => equal(j.key, key));
  const signs = (key: Uint8Array) => signers.some((s) => equal(s, key));
  return (
    firstOf(
      () => must(body.role === "WORK", "E_FIELD", `genesis.role is ${body.role}, not WORK`),
      () => sameTenant("genesis.tenantId", body.tenantId, dock.body.tenantId),
      () => cites("genesis.dockRef", body.dockRef, dock.ref),
      () => must(names(body.joinKey), "E_KEY_UNKNOWN", "genesis.joinKey is not named in the dock"),
      () => checkLedgerKey(crypto, body),
      () => must(!names(body.ledgerKey), "E_FIELD", "genesis.ledgerKey is a join key of the dock"),
      () =>
        must(
          signers.length === 2 && signs(body.joinKey) && signs(body.ledgerKey),
          "E_SIGNATURE",
          "genesis: not signed by exactly its join key and its ledger key",
        ),
      () =>
        must(isInstanceId(body.instanceId), "E_FIELD", "genesis.instanceId is not an instance id"),
      () => must(isPresent(body.manifestHash), "E_FIELD", "genesis.manifestHash is absent"),
      () => must(isPresent(body.nonce), "E_FIELD", "genesis.nonce is absent"),
      () => checkCurrent("dock", dock.body, body.createdAtUs),
    ) ?? verified
  );
}

/** Verifies the birth of the control plane's ledger of a tenant, by its CONTROL_LEDGER key alone. */
export function verifyControlGenesis(
  crypto: Crypto,
  signed: SignedBytes,
  keyset: Verified<KeysetBody>,
  nowUs: number,
): Verified<GenesisBody> | Invalid {
  const opened = openVersion1(crypto, GENESIS, signed);
  if (isInvalid(opened)) return opened;
  const { body, signers, verified } = opened;
  const foreign = [body.manifestHash, body.dockRef, body.joinKey].some(isPresent);
  return (
    firstOf(
      () => must(body.role === "CONTROL", "E_FIELD", `genesis.role is ${body.role}, not CONTROL`),
      () => sameTenant("genesis.tenantId", body.tenantId, keyset.body.tenantId),
      () =>
        must(
          !foreign && body.instanceId === "",
          "E_FIELD",
          "genesis: a CONTROL ledger has no instance, manifest, dock or join key",
        ),
      () => checkLedgerKey(crypto, body),
      () => must(isPresent(body.nonce), "E_FIELD", "genesis.nonce is absent"),
      () =>
        checkSigners("genesis", keyset, "CONTROL_LEDGER", signers, {
          signedAtUs: body.createdAtUs,
          nowUs,
        }),
      () =>
        must(
          equal(signers[0] as Uint8Array, body.ledgerKey),
          "E_SIGNATURE",
          "genesis: signed by another key than its ledger key",
        ),
    ) ?? verified
  );
}

function checkLedgerKey(crypto: Crypto, body: GenesisBody): Invalid | null {
  const weak = body.ledgerKey.length === 32 ? crypto.keyProblem(body.ledgerKey) : "E_FIELD";
  return weak === null ? null : invalid(weak, "genesis.ledgerKey is not a public key");
}
