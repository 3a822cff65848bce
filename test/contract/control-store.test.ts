import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { utf8 } from "../../src/domain/bytes.ts";
import { embeddedControlStore } from "../../src/storage/control-embedded.ts";
import { openLmdb } from "../../src/storage/lmdb.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { StorageFailed, type Write } from "../../src/storage/store.ts";
import { controlStoreContract } from "./control-store.ts";

controlStoreContract("memory", () => ({
  open: async () => embeddedControlStore(memoryStore()),
  reopen: null,
  cleanUp: async () => {},
}));

controlStoreContract("lmdb", () => {
  let folder = "";
  return {
    async open() {
      folder = await mkdtemp(join(tmpdir(), "dragons-control-store-"));
      return embeddedControlStore(openLmdb(folder));
    },
    async reopen(store) {
      await store.close();
      return embeddedControlStore(openLmdb(folder));
    },
    cleanUp: () => rm(folder, { recursive: true }),
  };
});

/** Writes one row. */
const command = (ownerEpoch: number, key: string) => ({
  tenant: "acme",
  ownerEpoch,
  expected: [],
  writes: [{ key, value: utf8("1") }],
  appends: [],
});

describe("commits of a control store", () => {
  async function opened() {
    const under = memoryStore();
    let commits = 0;
    const gathered: (() => void)[] = [];
    const counted = {
      ...under,
      commit: (writes: readonly Write[]) => {
        commits++;
        return under.commit(writes);
      },
    };
    const store = embeddedControlStore(counted, () => new Promise((go) => gathered.push(go)));
    const epoch = await store.own("acme");
    const put = (key: string) => store.apply(command(epoch, key));
    return { store, put, gathered, commits: () => commits };
  }

  test("whoever writes alone waits for nobody", async () => {
    const { store, put, gathered, commits } = await opened();
    for (const key of ["a", "b", "c"]) await put(key);
    expect(commits()).toBe(1 + 3);
    expect(gathered).toEqual([]);
    await store.close();
  });

  test("after a commit that several shared, whoever comes meanwhile shares the next", async () => {
    const { store, put, gathered, commits } = await opened();
    await Promise.all(["a", "b"].map(put));
    expect([commits(), gathered.length]).toEqual([2, 1]);
    const later = ["c", "d", "e"].map(put);
    // All that is not on its way to the disk has been said by now.
    await store.size("acme", "log");
    expect(commits()).toBe(2);
    gathered[0]?.();
    await Promise.all(later);
    expect(commits()).toBe(3);
    gathered[1]?.();
    await store.close();
  });

  test("one that is closed writes what was gathered", async () => {
    const { store, put, gathered, commits } = await opened();
    await Promise.all(["a", "b"].map(put));
    const last = put("c");
    const closed = store.close();
    gathered[0]?.();
    await closed;
    await expect(last).resolves.toMatchObject({ applied: true });
    expect(commits()).toBe(3);
  });
});

describe("control store on a disk that fails", () => {
  const asked = (ownerEpoch: number, key: string) => ({
    ...command(ownerEpoch, key),
    request: { id: key, digest: utf8("d"), answer: utf8("done") },
  });

  test("nothing is answered as done, then or later, and nobody waits for ever", async () => {
    const sound = memoryStore();
    let broken = false;
    const store = embeddedControlStore({
      ...sound,
      commit: async (writes) => {
        if (broken) throw new StorageFailed("EIO");
        return sound.commit(writes);
      },
    });
    const epoch = await store.own("acme");
    broken = true;
    const first = store.apply(asked(epoch, "a"));
    const replay = store.apply(asked(epoch, "a"));
    const second = store.apply(asked(epoch, "b"));
    await expect(first).rejects.toThrow(StorageFailed);
    await expect(replay).rejects.toThrow(StorageFailed);
    await expect(second).rejects.toThrow(StorageFailed);
    // Asked again after the failure: the same, never a replayed success.
    await expect(store.apply(asked(epoch, "a"))).rejects.toThrow(StorageFailed);
    await expect(store.own("acme")).rejects.toThrow(StorageFailed);
  });
});
