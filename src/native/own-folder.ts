import { mkdirSync, statSync } from "node:fs";

/**
 * Makes a folder for this user alone, or says why one that is there is not: whoever else may enter it
 * may read what it holds, or ask whoever listens in it. null: it is as it must be.
 * @throws the system's error when it cannot be made or looked at.
 */
export function ownFolder(folder: string): string | null {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { mode } = statSync(folder);
  if ((mode & 0o077) === 0) return null;
  const octal = (mode & 0o777).toString(8).padStart(4, "0");
  return `${folder} is open to others (mode ${octal}); fix it with: chmod 700 ${folder}`;
}
