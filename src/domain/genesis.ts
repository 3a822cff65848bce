import { bytes, message, oneOf, str, u32, u64 } from "./canonical.ts";
import type { SignedKind } from "./signed.ts";

/** WORK: an instance's ledger. CONTROL: the control plane's ledger of one tenant. */
export const LEDGER_ROLES = ["UNSPECIFIED", "WORK", "CONTROL"] as const;

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
