import { createHash } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { EXIT, Failure } from "../failure.ts";

/** The page as it came with this release, next to the sums that the release publishes. */
const PAGE = join(import.meta.dirname, "../../../verifiers/page/auditor.html");

/**
 * Puts the auditor's page into a folder, whole or not at all, over one that is there. Returns its path and
 * its SHA-256, hex.
 * @throws Failure, usage, when it cannot be written.
 */
export async function putPage(folder: string): Promise<{ file: string; sha256: string }> {
  const page = await readFile(PAGE);
  const file = join(folder, "auditor.html");
  const partial = join(folder, `.auditor.html.${process.pid}.partial`);
  try {
    await writeFile(partial, page);
    await rename(partial, file);
  } catch (error) {
    throw new Failure(EXIT.usage, `--with-page: ${(error as Error).message}`);
  }
  return { file, sha256: createHash("sha256").update(page).digest("hex") };
}
