import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toHex } from "../domain/bytes.ts";
import { FileDigests } from "./file-digest.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "digest-"));
});
afterAll(() => rm(folder, { recursive: true }));

const CHUNK = 64 * 1024;

describe("a file's digest", () => {
  test.each([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5])(
    "is SHA-256 over all of its %d bytes",
    async (size) => {
      const path = join(folder, `f${size}`);
      const bytes = randomBytes(size);
      await writeFile(path, bytes);
      const digested = await new FileDigests().digest(path);
      expect(digested?.size).toBe(size);
      expect(toHex(digested?.sha256 ?? new Uint8Array())).toBe(
        createHash("sha256").update(bytes).digest("hex"),
      );
    },
  );

  test("is its own, however many one reader has read", async () => {
    await writeFile(join(folder, "a"), "a");
    await writeFile(join(folder, "b"), "b");
    const files = new FileDigests();
    const a = await files.digest(join(folder, "a"));
    const before = toHex(a?.sha256 ?? new Uint8Array());
    await files.digest(join(folder, "b"));
    expect(toHex(a?.sha256 ?? new Uint8Array())).toBe(before);
  });

  test("is none of a folder, and fails on a link, on nothing, by the system's word", async () => {
    const files = new FileDigests();
    expect(await files.digest(folder)).toBeNull();
    await symlink("a", join(folder, "link"));
    await expect(files.digest(join(folder, "link"))).rejects.toMatchObject({ code: "ELOOP" });
    await expect(files.digest(join(folder, "gone"))).rejects.toMatchObject({ code: "ENOENT" });
  });
});
