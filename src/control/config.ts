import { parseArgs } from "node:util";

/** How one control plane runs. */
export interface ControlConfig {
  /** Its data folder, made if it is not there. */
  readonly data: string;
  /** Host and port to listen on; port 0: any that is free. */
  readonly listen: { readonly host: string; readonly port: number };
  /** Further names and addresses that clients reach it by, for its certificate. */
  readonly names: readonly string[];
  /** Policy file that names the witnesses to ask; null: none are asked. */
  readonly witnesses?: string | null;
  /** Written once everything accepts calls; null: none. */
  readonly readyFile: string | null;
  /** Ends when stdin does: for a child whose parent may vanish. */
  readonly stdinEof: boolean;
}

/** Settings that cannot be used. The message names the flag and what to write instead. */
export class ConfigError extends Error {
  override readonly name: string = "ConfigError";
}

/** A flag that is missing, unknown or not of its form: to be seen without looking at anything else. */
export class UsageError extends ConfigError {
  override readonly name = "UsageError";
}

export const CONTROL_USAGE = `usage: dragons control --data DIR [flags]

  --data DIR           where everything is kept; made if it is not there
  --listen HOST:PORT   gRPC over TLS (default 127.0.0.1:7443; port 0: any free one)
  --name HOST          a further name or address of this machine, for its certificate; repeatable
  --witnesses FILE     outside witnesses that cosign each tenant's ledger: lines of
                       \`witness NAME VKEY URL\` (C2SP tlog-policy)
  --ready-file FILE    written, as JSON, once calls are accepted
  --stdin-eof          end when stdin ends
`;

const HOST = /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$|^[0-9a-f:.]{2,45}$/;

/** @throws UsageError naming the flag. */
export function readConfig(argv: readonly string[]): ControlConfig {
  const { values } = parsed(argv);
  if (values.data === undefined || values.data === "") {
    throw new UsageError("--data: name the folder to keep everything in");
  }
  for (const name of values.name) {
    if (!HOST.test(name)) throw new UsageError(`--name: ${name} is no host name or address`);
  }
  return {
    data: values.data,
    listen: hostPort(values.listen),
    names: values.name,
    witnesses: values.witnesses ?? null,
    readyFile: values["ready-file"] ?? null,
    stdinEof: values["stdin-eof"],
  };
}

function parsed(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      strict: true,
      allowPositionals: false,
      options: {
        data: { type: "string" },
        listen: { type: "string", default: "127.0.0.1:7443" },
        name: { type: "string", multiple: true, default: [] },
        witnesses: { type: "string" },
        "ready-file": { type: "string" },
        "stdin-eof": { type: "boolean", default: false },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function hostPort(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^[\]:]+)):(\d{1,5})$/i.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !HOST.test(host) || !(port <= 65_535)) {
    throw new UsageError(`--listen: ${text} is not HOST:PORT, such as 127.0.0.1:7443`);
  }
  return { host, port };
}
