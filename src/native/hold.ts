import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

const SQLITE_BUSY = 5;

/** Another process holds the folder, by the same name. */
export class FolderHeld extends Error {
  override readonly name = "FolderHeld";
  /** 0: the holder has not written it down yet. */
  readonly pid: number;
  constructor(folder: string, pid: number) {
    super(`${folder} is held by ${pid === 0 ? "another process" : `process ${pid}`}`);
    this.pid = pid;
  }
}

/** One process's hold on a folder. Ends with the process, however that ends. */
export interface Hold {
  release(): void;
}

/**
 * Holds a folder for this process alone, until it is released or the process is gone.
 *
 * Node has no flock. A pid file outlives its process, and whoever tidies it up races with whoever
 * does the same; a unix socket in the file system has the same fault, an abstract one is not seen
 * from another network namespace. SQLite, which is part of Node, takes a POSIX record lock on a
 * file: the kernel gives it to one process, knows it in every namespace, keeps it from children, and
 * drops it when the process dies. Nothing is ever written to that file, so nothing can be stale.
 * Beside it `holder` says who it is, for the message alone.
 *
 * @param name of the hold: a folder may be held for two things at once.
 * @throws FolderHeld at once when another process, or this one, holds it already.
 */
export function holdFolder(folder: string, name = "lock"): Hold {
  const holder = join(folder, name === "lock" ? "holder" : `${name}.holder`);
  const lock = new DatabaseSync(join(folder, name), { timeout: 0 });
  try {
    lock.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
  } catch (error) {
    lock.close();
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) {
      throw new FolderHeld(folder, pidIn(holder));
    }
    throw error;
  }
  writeFileSync(holder, `${process.pid}\n`, { mode: 0o600 });
  return { release: () => lock.close() };
}

function pidIn(file: string): number {
  try {
    const pid = Number(readFileSync(file, "latin1").trim());
    return Number.isSafeInteger(pid) && pid > 0 ? pid : 0;
  } catch {
    return 0;
  }
}
