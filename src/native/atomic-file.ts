import { randomBytes } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { toHex } from "../domain/bytes.ts";

/**
 * Writes a file whole or not at all, and durable when this resolves: readers see the old content or
 * the new, never a part. `mode` is that of the new file, whatever the old one's was.
 */
export async function writeAtomic(
  path: string,
  content: string | Uint8Array,
  mode: number,
): Promise<void> {
  const partial = `${path}.${toHex(randomBytes(8))}.tmp`;
  try {
    const file = await open(partial, "wx", mode);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
  const folder = await open(dirname(path), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
