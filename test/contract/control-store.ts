import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { utf8 } from "../../src/domain/bytes.ts";
import type { Command, ControlStore } from "../../src/storage/control-store.ts";

/** What a suite needs of an implementation. */
export interface Subject {
  open(): Promise<ControlStore>;
  /** Closes it and opens what it left; null: it keeps nothing beyond its process. */
  reopen: ((store: ControlStore) => Promise<ControlStore>) | null;
  cleanUp(): Promise<void>;
}

const value = (s: string): Uint8Array => utf8(s);
const DIGEST = value("digest");

/** Every control store keeps these promises. */
export function controlStoreContract(name: string, subject: () => Subject): void {
  describe(`control store: ${name}`, () => {
    let current: Subject;
    let store: ControlStore;
    let epoch: number;

    const command = (more: Partial<Command> = {}): Command => ({
      tenant: "acme",
      ownerEpoch: epoch,
      expected: [],
      writes: [],
      appends: [],
      ...more,
    });
    const put = (key: string, v: string): Command =>
      command({ writes: [{ key, value: value(v) }] });

    beforeEach(async () => {
      current = subject();
      store = await current.open();
      epoch = await store.own("acme");
    });
    afterEach(async () => {
      await store.close();
      await current.cleanUp();
    });

    test("a command is carried out whole, under one revision", async () => {
      const done = await store.apply(
        command({
          writes: [
            { key: "a", value: value("1") },
            { key: "b", value: value("2") },
          ],
          appends: [
            { log: "l", seq: 1, value: value("x") },
            { log: "l", seq: 2, value: value("y") },
          ],
        }),
      );
      expect(done).toMatchObject({ applied: true, revision: 1, replayed: false });
      expect(await store.get("acme", "a")).toEqual({ value: value("1"), version: 1 });
      expect(await store.get("acme", "b")).toEqual({ value: value("2"), version: 1 });
      expect(await store.size("acme", "l")).toBe(2);
      expect(await store.read("acme", "l", { from: 2, limit: 9 })).toEqual([
        { seq: 2, value: value("y") },
      ]);
    });

    test("null removes a row; what is absent reads as null", async () => {
      await store.apply(put("a", "1"));
      await store.apply(command({ writes: [{ key: "a", value: null }] }));
      expect(await store.get("acme", "a")).toBeNull();
      expect(await store.get("acme", "never")).toBeNull();
      expect(await store.size("acme", "never")).toBe(0);
    });

    test("a row of another version conflicts, and nothing of the command is done", async () => {
      await store.apply(put("a", "1"));
      await store.apply(put("a", "2"));
      const writes = [{ key: "b", value: value("x") }];
      expect(await store.apply(command({ expected: [{ key: "a", version: 1 }], writes }))).toEqual({
        applied: false,
        conflict: "VERSION",
        at: "a",
      });
      expect(await store.get("acme", "b")).toBeNull();
      const fits = await store.apply(command({ expected: [{ key: "a", version: 2 }], writes }));
      expect(fits).toMatchObject({ applied: true, revision: 3 });
    });

    test("of two commands at once that expect a row absent, the first wins", async () => {
      const expected = [{ key: "a", version: 0 }];
      const [first, second] = await Promise.all([
        store.apply({ ...put("a", "1"), expected }),
        store.apply({ ...put("a", "2"), expected }),
      ]);
      expect(first).toMatchObject({ applied: true });
      expect(second).toMatchObject({ applied: false, conflict: "VERSION" });
      expect((await store.get("acme", "a"))?.value).toEqual(value("1"));
    });

    test("commands without waiting take effect in the order of the calls", async () => {
      const many = Array.from({ length: 200 }, (_, i) =>
        store.apply(
          command({
            writes: [{ key: "last", value: value(`${i}`) }],
            appends: [{ log: "l", seq: i + 1, value: value(`${i}`) }],
          }),
        ),
      );
      const revisions = (await Promise.all(many)).map((r) => r.applied && r.revision);
      expect(revisions).toEqual(many.map((_, i) => i + 1));
      expect((await store.get("acme", "last"))?.value).toEqual(value("199"));
      const log = await store.read("acme", "l", { from: 1, limit: 500 });
      expect(log.map((e) => e.seq)).toEqual(many.map((_, i) => i + 1));
    });

    test("an append late, early, or twice in one command is a conflict", async () => {
      await store.apply(command({ appends: [{ log: "l", seq: 1, value: value("x") }] }));
      for (const seq of [0, 1, 3]) {
        const appends = [{ log: "l", seq, value: value("y") }];
        expect(await store.apply(command({ appends }))).toEqual({
          applied: false,
          conflict: "SEQ",
          at: "l",
        });
      }
      const twice = { log: "l", seq: 2, value: value("y") };
      expect(await store.apply(command({ appends: [twice, twice] }))).toMatchObject({
        conflict: "SEQ",
      });
      expect(await store.size("acme", "l")).toBe(1);
    });

    test("a former owner is fenced, and changes nothing", async () => {
      const newer = await store.own("acme");
      expect(newer).toBeGreaterThan(epoch);
      expect(await store.apply(put("a", "1"))).toEqual({
        applied: false,
        conflict: "FENCED",
        at: "acme",
      });
      expect(await store.get("acme", "a")).toBeNull();
      expect(await store.apply({ ...put("a", "1"), ownerEpoch: newer })).toMatchObject({
        applied: true,
      });
    });

    test("a request again gives the first answer and does nothing", async () => {
      const request = { id: "r1", digest: DIGEST, answer: value("first") };
      await store.apply({ ...put("a", "1"), request });
      const again = { id: "r1", digest: DIGEST, answer: value("second") };
      expect(await store.apply({ ...put("a", "2"), request: again })).toEqual({
        applied: true,
        revision: 1,
        replayed: true,
        answer: value("first"),
      });
      expect((await store.get("acme", "a"))?.value).toEqual(value("1"));
      expect(await store.answered("acme", "r1")).toEqual({
        digest: DIGEST,
        revision: 1,
        answer: value("first"),
      });
      expect(await store.answered("acme", "r2")).toBeNull();
    });

    test("a request asked twice at once is carried out once", async () => {
      const request = { id: "r1", digest: DIGEST, answer: value("first") };
      const both = await Promise.all([
        store.apply({ ...put("a", "1"), request }),
        store.apply({ ...put("a", "2"), request }),
      ]);
      expect(both.map((r) => r.applied && r.replayed)).toEqual([false, true]);
      expect((await store.get("acme", "a"))?.value).toEqual(value("1"));
    });

    test("a request id for something else is refused", async () => {
      await store.apply({
        ...put("a", "1"),
        request: { id: "r1", digest: DIGEST, answer: value("") },
      });
      const other = { id: "r1", digest: value("other"), answer: value("") };
      expect(await store.apply({ ...put("a", "2"), request: other })).toEqual({
        applied: false,
        conflict: "REQUEST_REUSED",
        at: "r1",
      });
    });

    test("pages by prefix: every row once, in order, none of the neighbours", async () => {
      const keys = ["a", "p", "p/1", "p/2", "p/3", "p/é", "q"];
      await store.apply(command({ writes: keys.map((key) => ({ key, value: value(key) })) }));
      const seen: string[] = [];
      for (let after = ""; ; ) {
        const page = await store.list("acme", { prefix: "p/", after, limit: 2 });
        seen.push(...page.map((r) => r.key));
        if (page.length < 2) break;
        after = page.at(-1)?.key ?? "";
      }
      expect(seen).toEqual(["p/1", "p/2", "p/3", "p/é"]);
      const all = await store.list("acme", { prefix: "", after: "", limit: 99 });
      expect(all.map((r) => r.key)).toEqual(keys);
    });

    test("tenants share nothing, even where one's name begins with the other's", async () => {
      const other = await store.own("acme-2");
      await store.apply(put("a", "1"));
      await store.apply(command({ appends: [{ log: "l", seq: 1, value: value("x") }] }));
      expect(await store.get("acme-2", "a")).toBeNull();
      expect(await store.list("acme-2", { prefix: "", after: "", limit: 9 })).toEqual([]);
      expect(await store.read("acme-2", "l", { from: 1, limit: 9 })).toEqual([]);
      const done = await store.apply(command({ tenant: "acme-2", ownerEpoch: other }));
      expect(done).toMatchObject({ applied: true, revision: 1 });
      expect(await store.tenants({ after: "", limit: 9 })).toEqual(["acme", "acme-2"]);
      expect(await store.tenants({ after: "acme", limit: 9 })).toEqual(["acme-2"]);
    });

    test("a log's entries are not those of a log whose name it begins with", async () => {
      await store.apply(
        command({
          appends: [
            { log: "l", seq: 1, value: value("x") },
            { log: "ll", seq: 1, value: value("y") },
          ],
        }),
      );
      expect(await store.read("acme", "l", { from: 1, limit: 9 })).toHaveLength(1);
    });

    test("hostile names are refused, not stored elsewhere", async () => {
      await expect(store.own("ACME\0b")).rejects.toThrow(/tenant/);
      await expect(store.apply(put("a\0b", "1"))).rejects.toThrow(/NUL/);
      await expect(store.apply(put("k".repeat(401), "1"))).rejects.toThrow(/at most 400/);
      expect(await store.apply(put("k".repeat(400), "1"))).toMatchObject({ revision: 1 });
    });

    test("what was applied outlives the process", async (context) => {
      if (current.reopen === null) return context.skip("keeps nothing beyond its process");
      const request = { id: "r1", digest: DIGEST, answer: value("first") };
      await store.apply({
        ...put("a", "1"),
        appends: [{ log: "l", seq: 1, value: value("x") }],
        request,
      });
      store = await current.reopen(store);
      expect(await store.get("acme", "a")).toEqual({ value: value("1"), version: 1 });
      expect(await store.read("acme", "l", { from: 1, limit: 9 })).toHaveLength(1);
      expect(await store.own("acme")).toBe(epoch + 1);
      epoch += 1;
      expect(await store.apply({ ...put("a", "2"), request })).toMatchObject({
        replayed: true,
        answer: value("first"),
      });
      expect(await store.apply(put("b", "2"))).toMatchObject({ revision: 2 });
    });
  });
}
