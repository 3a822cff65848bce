import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import type { Restart } from "../../src/domain/restart.ts";

/** What a keeper is told: by `dragons run`, never by a person. */
export interface KeeperConfig {
  /** The instance's: what the sidecar is started on. */
  readonly data: string;
  readonly keys: string;
  readonly token: string;
  readonly manifest: string;
  /** The agent's folder, real. */
  readonly folder: string;
  readonly goal: string;
  /** The sidecar's `--mcp-lists`. */
  readonly mcpLists: string;
  /** Where the data of runs before this one lie. */
  readonly orphans: string;
  /** Where the agent may write, beside where it works. Real. */
  readonly writable: readonly string[];
  /** What it must not see: keys, profiles, what sidecars and control planes keep. Real, and there. */
  readonly hidden: readonly string[];
  readonly allowUnix: boolean;
  /** When the agent is started again. */
  readonly restart: Restart;
  /** The agent's. */
  readonly command: readonly string[];
}

export function parseKeeperArgs(args: readonly string[]): KeeperConfig {
  const end = args.indexOf("--");
  const { values } = parseArgs({
    args: args.slice(0, end),
    strict: true,
    options: {
      data: { type: "string" },
      keys: { type: "string" },
      token: { type: "string" },
      manifest: { type: "string" },
      folder: { type: "string" },
      goal: { type: "string" },
      "mcp-lists": { type: "string" },
      orphans: { type: "string" },
      rw: { type: "string", multiple: true },
      hide: { type: "string", multiple: true },
      "allow-unix": { type: "boolean" },
      restart: { type: "string" },
    },
  });
  const needed = (name: "data" | "keys" | "token" | "manifest" | "folder" | "orphans"): string =>
    resolve(values[name] as string);
  return {
    data: needed("data"),
    keys: needed("keys"),
    token: needed("token"),
    manifest: needed("manifest"),
    folder: realpathSync(needed("folder")),
    goal: values.goal ?? "",
    mcpLists: values["mcp-lists"] as string,
    orphans: needed("orphans"),
    writable: (values.rw ?? []).map((path) => realpathSync(path)),
    hidden: (values.hide ?? []).map((path) => realpathSync(path)),
    allowUnix: values["allow-unix"] ?? false,
    restart: values.restart as Restart,
    command: args.slice(end + 1),
  };
}
