import { bytes, message, nested, repeated, str, u32, u64 } from "./canonical.ts";
import type { SignedKind } from "./signed.ts";

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
