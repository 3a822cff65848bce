import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { EXIT, Failure } from "../failure.ts";

export const DEV_USAGE = `dragons dev [--once] [--data DIR] [--ready-file FILE] [--port-base N]

Everything on this machine, with a story: a control plane, a sidecar, a payments service and an agent
that knows nothing of Dragons, each a process of its own. For trying out, not for production: all keys
lie in one folder.

  --once             end after the story; not 0 if any of it did not come true
  --data DIR         where everything is kept             [.dragons]
  --ready-file FILE  written whole once everything accepts calls
  --port-base N      control plane on N, proxy on N+1, payments on N+2; 0: any that are free
                                                          [7443, 7071, 50051]
`;

export interface DevConfig {
  readonly data: string;
  readonly once: boolean;
  readonly readyFile: string | null;
  readonly ports: { readonly control: number; readonly proxy: number; readonly upstream: number };
}

/** @throws Failure naming the flag. null: help was asked for. */
export function parseDevArgs(args: readonly string[]): DevConfig | null {
  let values: ReturnType<typeof parse>["values"];
  try {
    ({ values } = parse(args));
  } catch (error) {
    throw new Failure(EXIT.usage, (error as Error).message);
  }
  if (values.help) return null;
  return {
    data: resolve(values.data ?? ".dragons"),
    once: values.once ?? false,
    readyFile: values["ready-file"] === undefined ? null : resolve(values["ready-file"]),
    ports: portsFrom(values["port-base"]),
  };
}

const parse = (args: readonly string[]) =>
  parseArgs({
    args: [...args],
    strict: true,
    options: {
      once: { type: "boolean" },
      data: { type: "string" },
      "ready-file": { type: "string" },
      "port-base": { type: "string" },
      help: { type: "boolean" },
    },
  });

function portsFrom(base: string | undefined): DevConfig["ports"] {
  if (base === undefined) return { control: 7443, proxy: 7071, upstream: 50051 };
  const first = Number(base);
  if (!/^\d{1,5}$/.test(base) || (first !== 0 && (first < 1024 || first > 65_533))) {
    throw new Failure(EXIT.usage, `--port-base: ${base} is not 0 or a port from 1024 to 65533`);
  }
  if (first === 0) return { control: 0, proxy: 0, upstream: 0 };
  return { control: first, proxy: first + 1, upstream: first + 2 };
}
