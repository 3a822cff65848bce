import { join } from "node:path";
import { native } from "../src/native/crypto.ts";
import type { Instance } from "./identity/instance.ts";
import { Latch } from "./identity/latch.ts";
import { LeaseLog } from "./identity/lease-log.ts";
import { openWorkLedger } from "./ledger/open-ledger.ts";
import type { WorkLedger } from "./ledger/work-ledger.ts";

/** What an instance remembers: every lease that it acted under, and every action. */
export interface Memory {
  readonly ledger: WorkLedger;
  readonly leases: LeaseLog;
  readonly latch: Latch;
}

/**
 * Opens what lies in an instance's data folder. Whatever a crash left open in its ledger is closed by that.
 *
 * @param opened closes it again, the last first.
 * @throws ConfigError, LedgerBroken, StorageFailed, FormatUnknown
 */
export async function openMemory(
  { dataFolder, opened }: { readonly dataFolder: string; readonly opened: AsyncDisposableStack },
  { authority, seed }: Instance,
  manifestHash: Uint8Array,
): Promise<Memory> {
  const latch = Latch.open(join(dataFolder, "latch"));
  const leases = LeaseLog.open(native, join(dataFolder, "leases"));
  opened.defer(() => leases.close());
  const ledger = await openWorkLedger({
    folder: join(dataFolder, "ledger"),
    seed,
    ledgerId: authority.genesis.ref,
    tenantId: authority.genesis.body.tenantId,
    manifestHash,
  });
  opened.defer(() => ledger.shutdown());
  return { ledger, leases, latch };
}
