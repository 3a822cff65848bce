import { checkFormat, LEDGER_FORMAT } from "./format.ts";
import { openJournaled } from "./journaled.ts";
import { type LedgerStore, ledgerStore } from "./ledger-store.ts";
import { openLmdb } from "./lmdb.ts";
import { PayloadKeys } from "./payload-keys.ts";
import type { Store } from "./store.ts";

/**
 * The rows of the ledger in a folder, whatever its journal still holds taken up. For who has the folder
 * to itself, see hold.ts.
 * @throws StorageFailed when it cannot be read, FormatUnknown when a newer release wrote it: then
 * nothing of it is touched, its journal neither.
 */
export const openLedgerRows = (folder: string): Promise<Store> =>
  openJournaled(folder, () => openKnown(folder));

/** The same as a ledger, its payloads opened with the keys beside it. Throws as `openLedgerRows` does. */
export const openLedgerStore = async (folder: string): Promise<LedgerStore> =>
  ledgerStore(await openLedgerRows(folder), PayloadKeys.open(folder));

function openKnown(folder: string): Store {
  const store = openLmdb(folder);
  try {
    checkFormat(store, LEDGER_FORMAT);
    return store;
  } catch (error) {
    void store.close();
    throw error;
  }
}
