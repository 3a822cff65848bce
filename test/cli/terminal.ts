import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { vi } from "vitest";
import { runCommand } from "../../src/cli/main.ts";

/** What one command left behind. */
export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** A folder to work in, and commands that are typed there: in this process, since starting one is slow. */
export class Terminal {
  readonly folder: string;
  /** Everything that any command has said, to either stream. */
  said = "";
  readonly #home = process.cwd();

  private constructor(folder: string) {
    this.folder = folder;
    process.chdir(folder);
  }

  static async open(): Promise<Terminal> {
    return new Terminal(await mkdtemp(join(tmpdir(), "dragons-cli-")));
  }

  async close(): Promise<void> {
    process.chdir(this.#home);
    await rm(this.folder, { recursive: true });
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** `dragons` with these words. */
  async dragons(...argv: string[]): Promise<Ran> {
    let out = "";
    let err = "";
    const stdout = vi.spyOn(process.stdout, "write").mockImplementation((chunk) => {
      out += chunk;
      return true;
    });
    const stderr = vi.spyOn(process.stderr, "write").mockImplementation((chunk) => {
      err += chunk;
      return true;
    });
    try {
      const code = await runCommand(argv);
      this.said += out + err;
      return { code, out, err };
    } finally {
      stdout.mockRestore();
      stderr.mockRestore();
      process.exitCode = undefined;
    }
  }

  /** Types commands one after the other; what differs from run to run is replaced by its kind. */
  async transcript(...lines: string[]): Promise<string> {
    const said: string[] = [];
    for (const line of lines) {
      const words = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map((m) => m[1] ?? (m[2] as string));
      const { code, out, err } = await this.dragons(...words);
      said.push(`$ dragons ${line}\n${out}${err}${code === 0 ? "" : `[exit ${code}]\n`}`);
    }
    return `\n${this.plain(said.join(""))}`;
  }

  plain(text: string): string {
    return (
      text
        .replaceAll(this.folder, "~")
        .replace(/127\.0\.0\.1:\d+/g, "HOST:PORT")
        .replace(/\b(grt|dck|lse|rcp|trn|dcp)_[0-9a-f]{32}/g, "$1_…")
        .replace(/\b[0-9a-f]{64}\b/g, "<64 hex>")
        .replace(/\b[0-9a-f]{32}\b/g, "<32 hex>")
        .replace(/\b[0-9a-f]{16}\b/g, "<16 hex>")
        .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g, "<time>")
        // How wide a column is depends on what was replaced.
        .replace(/(?<=\S) {2,}/g, "  ")
    );
  }
}
