import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { agentEnvironment } from "../../../sidecar/agent/environment.ts";
import type { Rule } from "../../../src/domain/rule.ts";
import { createCa, type Issued, issueServer } from "../../../src/native/pki.ts";
import { CREDENTIAL, openSidecar, type Sidecar } from "../rig.ts";

const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];

/** Everything at one place, by these methods. */
export const everything = (
  target: string,
  scheme: "HTTP" | "HTTPS",
  methods: readonly string[] = METHODS,
): Rule[] =>
  methods.flatMap((verb) =>
    ["/*", "/*/*", "/*/*/*", "/*/*/*/*", "/*%2F*"].map((path) => {
      return { protocol: "HTTP", target, verb, path, when: "", scheme };
    }),
  );

/** Programs of others, started straight and as a sidecar's agents. */
export interface Bench {
  readonly sidecar: Sidecar;
  /** Of this bench alone, and gone with it. */
  readonly folder: string;
  readonly straight: NodeJS.ProcessEnv;
  readonly governed: NodeJS.ProcessEnv;
  /** What a program prints; with `exit N: …` behind it when that is not 0. */
  run(
    env: NodeJS.ProcessEnv,
    command: string,
    args: readonly string[],
    cwd?: string,
  ): Promise<string>;
  /** Everything that passed has its receipt. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

/**
 * @param start servers, given the certificate of `localhost` that clients trust when they go straight;
 * returns what is granted there.
 */
export async function openBench(start: (leaf: Issued) => Promise<Rule[]>): Promise<Bench> {
  const nowUs = Date.now() * 1000;
  const folder = mkdtempSync(join(tmpdir(), "dragons-clients-"));
  const upstreams = await createCa("Upstreams", { nowUs, ttlUs: 3.6e9 });
  const leaf = await issueServer(upstreams, ["localhost"], { nowUs, ttlUs: 3.6e9 });
  const rules = await start(leaf);
  const sidecar = await openSidecar({ granted: {}, upstreamCa: upstreams.certPem, rules });
  const files = { upstreams: upstreams.certPem, sidecar: sidecar.ca.certPem };
  for (const [name, pem] of Object.entries(files)) writeFileSync(join(folder, `${name}.pem`), pem);
  const { host, port } = sidecar.stack.proxyAddress;
  const environment = (ca: string) =>
    agentEnvironment(process.env, {
      address: `${host}:${port}`,
      credential: CREDENTIAL,
      caFile: join(folder, `${ca}.pem`),
      bundleFile: join(folder, `${ca}.pem`),
    });
  const straight = environment("upstreams");
  for (const name of Object.keys(straight).filter((n) => /_proxy$/i.test(n))) delete straight[name];
  return {
    sidecar,
    folder,
    straight,
    governed: environment("sidecar"),
    async run(env, command, args, cwd = folder) {
      const child = spawn(command, args, { env, cwd, stdio: ["ignore", "pipe", "pipe"] });
      let [output, errors] = ["", ""];
      child.stdout.on("data", (c) => {
        output += c.toString("latin1");
      });
      child.stderr.on("data", (c) => {
        errors += c;
      });
      const [code] = (await once(child, "close")) as [number | null];
      return code === 0 ? output : `${output}\nexit ${code}: ${errors}`;
    },
    async settled() {
      await sidecar.gate.idle();
      await sidecar.ledger.flushed();
    },
    async close() {
      await sidecar.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
