import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { utf8 } from "../../src/domain/bytes.ts";
import { storeKeyBytesMax } from "../../src/domain/limits.ts";
import { StorageFailed, type Store } from "../../src/storage/store.ts";

const key = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes);
const put = (k: Uint8Array, value: string) => ({ key: k, value: utf8(value) });

/** What `Store` promises, for each implementation. `make` gives an empty store. */
export function storeContract(name: string, make: () => Promise<Store>): void {
  describe(`${name} keeps the store contract`, () => {
    let store: Store;
    beforeEach(async () => {
      store = await make();
    });
    afterEach(() => store.close());

    const all = () =>
      store.range({ from: key(0), below: key(255, 255), limit: 1000 }).map((r) => [...r.key]);

    test("a row reads back as it was written; a missing one is null", async () => {
      expect(store.get(key(1))).toBeNull();
      await store.commit([put(key(1), "one")]);
      expect(store.get(key(1))).toEqual(utf8("one"));
      expect(store.get(key(1, 0))).toBeNull();
    });

    test("an empty value is a row", async () => {
      await store.commit([{ key: key(1), value: new Uint8Array(0) }]);
      expect(store.get(key(1))).toEqual(new Uint8Array(0));
      expect(all()).toEqual([[1]]);
    });

    test("a large value reads back whole, alone and in a range", async () => {
      const large = new Uint8Array(300_000).map((_, i) => i % 251);
      await store.commit([{ key: key(1), value: large }]);
      expect(store.get(key(1))).toEqual(large);
      expect(store.range({ from: key(1), below: key(2), limit: 1 })[0]?.value).toEqual(large);
    });

    test("keys sort by their bytes, a prefix first", async () => {
      await store.commit([
        put(key(2), ""),
        put(key(1, 255), ""),
        put(key(1), ""),
        put(key(0, 0), ""),
        put(key(128), ""),
      ]);
      expect(all()).toEqual([[0, 0], [1], [1, 255], [2], [128]]);
    });

    test("a range is half-open, both ways round", async () => {
      await store.commit([1, 2, 3, 4].map((n) => put(key(n), `${n}`)));
      const range = { from: key(2), below: key(4), limit: 10 };
      expect(store.range(range).map((r) => r.key[0])).toEqual([2, 3]);
      expect(store.range({ ...range, newestFirst: true }).map((r) => r.key[0])).toEqual([3, 2]);
      expect(store.range({ ...range, limit: 1 }).map((r) => r.key[0])).toEqual([2]);
      expect(store.range({ ...range, limit: 1, newestFirst: true }).map((r) => r.key[0])).toEqual([
        3,
      ]);
      expect(store.range({ ...range, limit: 0 })).toEqual([]);
      expect(store.range({ from: key(4), below: key(2), limit: 9 })).toEqual([]);
    });

    test("the ends of a range need not be rows", async () => {
      await store.commit([put(key(2), ""), put(key(4), "")]);
      const range = { from: key(1), below: key(9), limit: 10 };
      expect(store.range(range).map((r) => r.key[0])).toEqual([2, 4]);
      expect(store.range({ ...range, newestFirst: true }).map((r) => r.key[0])).toEqual([4, 2]);
    });

    test("within a commit the later write of a key wins, removal included", async () => {
      await store.commit([put(key(1), "a"), put(key(1), "b"), put(key(2), "a")]);
      expect(store.get(key(1))).toEqual(utf8("b"));
      await store.commit([
        { key: key(1), value: null },
        put(key(2), "b"),
        { key: key(2), value: null },
        { key: key(3), value: null },
      ]);
      expect(all()).toEqual([]);
    });

    test("commits take effect in the order of the calls", async () => {
      await Promise.all(["a", "b", "c"].map((v) => store.commit([put(key(1), v)])));
      expect(store.get(key(1))).toEqual(utf8("c"));
    });

    test("a key that no store takes is refused, and nothing of its commit is kept", async () => {
      for (const bad of [new Uint8Array(0), new Uint8Array(storeKeyBytesMax + 1)]) {
        await expect(store.commit([put(key(1), "x"), put(bad, "y")])).rejects.toThrow(RangeError);
      }
      const longest = new Uint8Array(storeKeyBytesMax).fill(7);
      await store.commit([put(longest, "z")]);
      expect(store.get(longest)).toEqual(utf8("z"));
      expect(all()).toHaveLength(1);
    });

    test("what was read stays as it was when the row changes", async () => {
      await store.commit([put(key(1), "before"), put(key(2), "other")]);
      const [first] = store.range({ from: key(1), below: key(3), limit: 2 });
      const got = store.get(key(1));
      await store.commit([put(key(1), "after!")]);
      expect(store.get(key(1))).toEqual(utf8("after!"));
      expect(got).toEqual(utf8("before"));
      expect(first?.value).toEqual(utf8("before"));
    });

    test("a closed store takes nothing", async () => {
      await store.close();
      await expect(store.commit([put(key(1), "x")])).rejects.toThrow(StorageFailed);
    });

    test("ten thousand rows in one commit", async () => {
      const keys = Array.from({ length: 10_000 }, (_, i) => key(1, i >> 8, i & 255));
      await store.commit(keys.map((k) => ({ key: k, value: k })));
      const rows = store.range({ from: key(1), below: key(2), limit: 20_000 });
      expect(rows.map((r) => r.key)).toEqual(keys);
      expect(rows.map((r) => r.value)).toEqual(keys);
    });
  });
}
