import { readFileSync } from "node:fs";
import { FileWatch } from "../../src/native/file-watch.ts";
import { measure } from "../../src/native/manifest-file.ts";
import { ConfigError, type SidecarConfig } from "../config.ts";

/** The agent's files: measured when asked, and watched from then on. */
export class AgentFiles {
  readonly #manifestFile: string;
  readonly #folder: string;
  readonly #watch: FileWatch;

  /** Until somebody listens: whoever does measures once more after that. */
  #changed: () => void = () => {};

  /** @param unwatched changes are not told any more, and why */
  constructor({ manifestFile, agentFolder }: SidecarConfig, unwatched: (why: string) => void) {
    this.#manifestFile = manifestFile;
    this.#folder = agentFolder;
    this.#watch = new FileWatch({
      folder: agentFolder,
      manifestFile,
      changed: () => this.#changed(),
      failed: unwatched,
    });
  }

  /** Called whenever some of them may have changed. */
  onChange(listener: () => void): void {
    this.#changed = listener;
  }

  /**
   * manifest_hash of the files as they are now.
   * @throws ConfigError when the manifest, or a file that it names, is not as it must be.
   */
  async measure(): Promise<Uint8Array> {
    try {
      const { hash, reach } = await measure(this.#folder, readFileSync(this.#manifestFile, "utf8"));
      this.#watch.follow(reach);
      return hash;
    } catch (error) {
      throw new ConfigError(`--manifest: ${this.#manifestFile}: ${(error as Error).message}`);
    }
  }

  close(): void {
    this.#watch.close();
  }
}
