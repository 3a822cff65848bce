import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { writeAtomic } from "../../native/atomic-file.ts";
import type { Profile } from "../profile.ts";

/** Writes a profile, whole or not at all. It names secrets, and holds none. */
async function writeProfile(path: string, profile: Profile): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeAtomic(path, `${JSON.stringify(profile, null, 2)}\n`, 0o600);
}

/** Writes a profile where none is. Says whether it did. */
export async function writeFirstProfile(path: string, profile: Profile): Promise<boolean> {
  if (existsSync(path)) return false;
  await writeProfile(path, profile);
  return true;
}
