import { checkFormat, LEDGER_FORMAT } from "./format.ts";
import { openJournaled } from "./journaled.ts";
import { openLmdb } from "./lmdb.ts";
import type { Store } from "./store.ts";

/**
 * The rows of the ledger in a folder, whatever its journal still holds taken up. For who has the folder
 * to itself, see hold.ts.
 * @throws StorageFailed when it cannot be read, FormatUnknown when a newer release wrote it: then
 * nothing of it is touched, its journal neither.
 */
export const openLedgerRows = (folder: string): Promise<Store> =>
  openJournaled(folder, () => openKnown(folder));

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
