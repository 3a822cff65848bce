import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLmdb } from "../../src/storage/lmdb.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { storeContract } from "./store.ts";

storeContract("memory", async () => memoryStore());
storeContract("lmdb", async () => openLmdb(await mkdtemp(join(tmpdir(), "dragons-store-"))));
