import { constants, copyFileSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { equal } from "../../src/domain/bytes.ts";
import type { Manifest } from "../../src/domain/manifest.ts";
import { FileDigests } from "../../src/native/file-digest.ts";

/** Copies of an agent's files, which it is shown in their places. */
export interface Snapshot {
  /** The absolute paths. */
  readonly paths: readonly string[];
  /** Reads every copy. @throws Error where one is not what the manifest says. */
  measure(): Promise<void>;
}

/**
 * Copies the files of a manifest, each under its absolute path, and reads every copy again: what the
 * agent is shown is what was measured, whatever is written to the originals meanwhile.
 *
 * @param folder where the manifest's paths begin, absolute and real.
 * @param into a folder of its own; what is there is removed.
 * @throws Error where a file is no longer what the manifest says.
 */
export async function takeSnapshot(
  { code, config }: Manifest,
  folder: string,
  into: string,
): Promise<Snapshot> {
  rmSync(into, { recursive: true, force: true });
  mkdirSync(into, { recursive: true, mode: 0o700 });
  const files = new Map([...code, ...config].map((file) => [join(folder, file.path), file.sha256]));
  for (const path of files.keys()) {
    const copy = join(into, path);
    mkdirSync(dirname(copy), { recursive: true, mode: 0o700 });
    copyFileSync(path, copy, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  }
  const measure = async (): Promise<void> => {
    const digests = new FileDigests();
    for (const [path, sha256] of files) {
      const found = await digests.digest(join(into, path));
      if (found === null || !equal(found.sha256, sha256)) {
        throw new Error(`${path} was changed while it was measured; start again`);
      }
    }
  };
  await measure();
  return { paths: [...files.keys()], measure };
}
