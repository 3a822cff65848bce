import { bytes, message, nested, oneOf, repeated, str, u32, u64 } from "./canonical.ts";
import type { SignedKind } from "./signed.ts";

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
});
export type KeysetBody = ReturnType<typeof KeysetBody.decode>;

export const KEYSET: SignedKind<KeysetBody> = { name: "keyset", body: KeysetBody };
