import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openJournaled } from "../../src/storage/journaled.ts";
import { openLmdb } from "../../src/storage/lmdb.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { storeContract } from "./store.ts";

const folder = (): Promise<string> => mkdtemp(join(tmpdir(), "dragons-store-"));

storeContract("memory", async () => memoryStore());
storeContract("lmdb", async () => openLmdb(await folder()));
storeContract("journaled", async () => openJournaled(await folder(), memoryStore));
