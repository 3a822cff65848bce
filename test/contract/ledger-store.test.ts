import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ledgerStore } from "../../src/storage/ledger-store.ts";
import { openLmdb } from "../../src/storage/lmdb.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { ledgerStoreContract } from "./ledger-store.ts";

ledgerStoreContract("memory", async () => ledgerStore(memoryStore()));
ledgerStoreContract("lmdb", async () =>
  ledgerStore(openLmdb(await mkdtemp(join(tmpdir(), "dragons-ledger-store-")))),
);
