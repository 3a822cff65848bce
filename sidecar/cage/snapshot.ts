import { constants, copyFileSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { equal } from "../../src/domain/bytes.ts";
import type { Manifest } from "../../src/domain/manifest.ts";
import { FileDigests } from "../../src/native/file-digest.ts";

/**
 * Copies the files of a manifest, each under its absolute path, and reads every copy again: what the
 * agent is shown is what was measured, whatever is written to the originals meanwhile.
 *
 * @param folder where the manifest's paths begin, absolute and real.
 * @param into a folder of its own; what is there is removed.
 * @returns the absolute paths.
 * @throws Error where a file is no longer what the manifest says.
 */
export async function takeSnapshot(
  { code, config }: Manifest,
  folder: string,
  into: string,
): Promise<string[]> {
  rmSync(into, { recursive: true, force: true });
  mkdirSync(into, { recursive: true, mode: 0o700 });
  const digests = new FileDigests();
  const files = new Map([...code, ...config].map((file) => [file.path, file]));
  const paths: string[] = [];
  for (const [name, { sha256 }] of files) {
    const path = join(folder, name);
    const copy = join(into, path);
    mkdirSync(dirname(copy), { recursive: true, mode: 0o700 });
    copyFileSync(path, copy, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    const found = await digests.digest(copy);
    if (found === null || !equal(found.sha256, sha256)) {
      throw new Error(`${path} was changed while it was measured; start again`);
    }
    paths.push(path);
  }
  return paths;
}
