import { type FSWatcher, lstatSync, watch } from "node:fs";
import { basename, dirname, join } from "node:path";
import { watchedFoldersMax } from "../domain/limits.ts";

/** What a manifest's globs reach, as the last measuring found it. Paths as their names. */
export interface Reach {
  /** Folders that were looked into, the agent's own first. */
  readonly folders: readonly (readonly string[])[];
  /** FILE: it is measured. FOLDER: it would be looked into, if it is one. */
  concerns(names: readonly string[]): "FILE" | "FOLDER" | null;
}

/**
 * Tells when something that a manifest measures may have changed, by inotify: nothing is polled, and
 * what the agent writes beside its code, logs or data, says nothing. Not every change is told (a
 * mapped file's is not, nor is one on some network disks), so measuring at renewals goes on.
 */
export class FileWatch {
  readonly #folder: string;
  readonly #changed: () => void;
  readonly #failed: (why: string) => void;
  readonly #watches = new Map<string, FSWatcher>();
  readonly #manifest: FSWatcher | null;
  #reach: Reach = { folders: [], concerns: () => null };
  #given = false;

  /**
   * @param folder the agent's
   * @param manifestFile its `dragon.yaml`, wherever it is
   * @param failed called once, if nothing is watched any more
   */
  constructor(parts: {
    folder: string;
    manifestFile: string;
    changed: () => void;
    failed: (why: string) => void;
  }) {
    this.#folder = parts.folder;
    this.#changed = parts.changed;
    this.#failed = parts.failed;
    const name = basename(parts.manifestFile);
    this.#manifest = this.#open(dirname(parts.manifestFile), (heard) => {
      if (heard === null || heard === name) this.#changed();
    });
  }

  /** Watches what was measured just now, and nothing else any more. */
  follow(reach: Reach): void {
    this.#reach = reach;
    const wanted = new Set(reach.folders.map((names) => names.join("/")));
    for (const path of this.#watches.keys()) if (!wanted.has(path)) this.#forget(path);
    if (wanted.size > watchedFoldersMax) {
      this.#giveUp(`${wanted.size} folders are more than ${watchedFoldersMax}`);
    }
    for (const names of reach.folders) {
      if (this.#given) return;
      const path = names.join("/");
      if (this.#watches.has(path)) continue;
      const opened = this.#open(join(this.#folder, path), (name) => this.#heard(names, name));
      if (opened !== null) this.#watches.set(path, opened);
    }
  }

  close(): void {
    this.#given = true;
    this.#manifest?.close();
    for (const path of [...this.#watches.keys()]) this.#forget(path);
  }

  #open(folder: string, heard: (name: string | null) => void): FSWatcher | null {
    try {
      const opened = watch(folder, { persistent: false }, (_event, name) => heard(name));
      opened.on("error", (error) => this.#giveUp(error.message));
      return opened;
    } catch (error) {
      // Gone since it was measured: whoever removed it is told of by its parent's watch.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT")
        this.#giveUp((error as Error).message);
      return null;
    }
  }

  #heard(names: readonly string[], name: string | null): void {
    const inner = [...names, name ?? ""];
    // Without a name it may be anything.
    const concern = name === null ? "FILE" : this.#reach.concerns(inner);
    if (concern === null) return;
    const path = inner.join("/");
    if (concern === "FOLDER" && !this.#watches.has(path) && !this.#isReached(path)) return;
    // Another folder may have taken its place, and its watch would go on hearing the one that left.
    for (const known of [...this.#watches.keys()]) {
      if (known === path || known.startsWith(`${path}/`)) this.#forget(known);
    }
    this.#changed();
  }

  /** A plain file where only folders are looked into is nobody's business. */
  #isReached(path: string): boolean {
    try {
      const found = lstatSync(join(this.#folder, path), { throwIfNoEntry: false });
      return found !== undefined && !found.isFile();
    } catch {
      // What may not even be looked at, measuring will tell of.
      return true;
    }
  }

  #forget(path: string): void {
    this.#watches.get(path)?.close();
    this.#watches.delete(path);
  }

  #giveUp(why: string): void {
    if (this.#given) return;
    this.close();
    this.#failed(why);
  }
}
