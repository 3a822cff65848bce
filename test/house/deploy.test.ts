import { spawnSync } from "node:child_process";
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { parseSidecarArgs, standingOf } from "../../sidecar/config.ts";
import { gatewayPort } from "../../src/domain/limits.ts";
import { lacks } from "../skips.ts";

/** What is deployed by, as far as it can be held to the command line without a cluster or an engine. */

const HOME = join(import.meta.dirname, "../..");
const LAUNCHER = join(HOME, "bin/dragons");
/** Not a program that this package brings, or needs. */
const SYSTEMD = "systemd-analyze";
const read = (path: string): string => readFileSync(join(HOME, path), "utf8");
const under = (folder: string, path: string): boolean =>
  path === folder || path.startsWith(`${folder}/`);

function dragons(launcher: string, ...words: readonly string[]) {
  return spawnSync(process.execPath, [launcher, ...words], { encoding: "utf8" });
}

/** What `dragons gateway rules …` prints, piped into a shell; it is for one port, and a shell can read it. */
function expectRules(line: string): void {
  const words = /^\S*dragons (gateway rules .*?) \| (?:\/bin\/)?sh$/.exec(line)?.[1]?.split(" ");
  const { status, stdout, stderr } = dragons(LAUNCHER, ...(words ?? []));
  expect([status, stderr]).toEqual([0, ""]);
  expect(stdout).toContain(`tproxy to :${gatewayPort}`);
  expect(spawnSync("sh", ["-n"], { input: stdout }).status).toBe(0);
}

describe("the images", () => {
  const lines = read("Dockerfile").replaceAll("\\\n", " ").split("\n");
  const instructions = (name: string): string[] =>
    lines.filter((l) => l.startsWith(`${name} `)).map((l) => l.slice(name.length + 1).trim());
  /** A stage's entry point, without the node that runs it. */
  const entry = (stage: string): string[] => {
    const at = lines.indexOf(`FROM base AS ${stage}`);
    const line = lines.slice(at).find((l) => l.startsWith("ENTRYPOINT "));
    return (JSON.parse(line?.slice("ENTRYPOINT ".length) as string) as string[]).slice(1);
  };
  let image: string;

  beforeAll(() => {
    image = mkdtempSync(join(tmpdir(), "dragons-image-"));
    for (const words of instructions("COPY").map((l) => l.split(" "))) {
      if (words.some((w) => w.startsWith("--from="))) continue;
      const [into = "", ...from] = words.reverse();
      for (const path of from) {
        const to = into.endsWith("/") ? join(into, path) : into;
        cpSync(join(HOME, path), join(image, to), { recursive: true });
      }
    }
    symlinkSync(join(HOME, "node_modules"), join(image, "node_modules"));
  });
  afterAll(() => rmSync(image, { recursive: true }));

  test.each(["sidecar", "control"])("hold all that %s takes to be read", (stage) => {
    const [launcher = "", verb = "", ...words] = entry(stage);
    const { status, stdout, stderr } = dragons(launcher.replace("/dragons", image), verb, "--help");
    expect([verb, status, stderr]).toEqual([stage, 0, ""]);
    for (const flag of words.filter((w) => w.startsWith("--"))) expect(stdout).toContain(flag);
  });

  test("install the machine's part of every dependency that has one", () => {
    const { packages } = JSON.parse(read("package-lock.json")) as {
      packages: Record<string, Record<string, unknown>>;
    };
    const native = Object.values(packages)
      .filter(({ dev, optional }) => !dev && !optional)
      .flatMap(({ optionalDependencies = {} }) => Object.keys(optionalDependencies as object))
      .filter((name) => name.endsWith("-linux-x64") && name.startsWith("@"))
      .map((name) => name.replace(/x64$/, ""));
    expect(native.length).toBeGreaterThan(0);
    for (const name of native) {
      expect(instructions("RUN").join("\n")).toContain(`"${name}$(node -p process.arch)@`);
    }
  });
});

describe("the pod", () => {
  interface Mount {
    readonly name: string;
    readonly mountPath: string;
    readonly readOnly?: boolean;
  }
  interface Container {
    readonly name: string;
    readonly command?: readonly string[];
    readonly env?: readonly { readonly name: string; readonly value: string }[];
    readonly securityContext: Record<string, unknown> & {
      readonly runAsUser: number;
      readonly capabilities: { readonly drop: string[]; readonly add?: string[] };
    };
    readonly volumeMounts?: readonly Mount[];
  }
  interface Volume {
    readonly name: string;
    readonly secret?: { readonly defaultMode: number };
  }
  // As kubectl reads it: 0400 is octal.
  const { spec } = parse(read("deploy/gateway/pod.yaml"), { version: "1.1" }) as {
    spec: {
      readonly securityContext: { readonly fsGroup: number };
      readonly initContainers: readonly Container[];
      readonly containers: readonly Container[];
      readonly volumes: readonly Volume[];
    };
  };
  const all = [...spec.initContainers, ...spec.containers];
  const container = (name: string): Container => {
    const found = all.find((c) => c.name === name);
    if (found === undefined) throw new Error(`there is no container ${name}`);
    return found;
  };
  const [rules, sidecar, agent] = ["rules", "sidecar", "agent"].map(container) as [
    Container,
    Container,
    Container,
  ];
  const config = parseSidecarArgs(sidecar.command?.slice(2) ?? []);
  const mountOf = (of: Container, path: string): Mount => {
    const found = of.volumeMounts?.find((m) => under(m.mountPath, path));
    if (found === undefined) throw new Error(`${of.name}: ${path} is on no volume`);
    return found;
  };

  test("starts a sidecar that its command line knows, behind the rules for its user", () => {
    expect(sidecar.command?.slice(0, 2)).toEqual(["dragons", "sidecar"]);
    expect(standingOf(config).enforcement).toBe("GATEWAY");
    expect(config.gateway?.port).toBe(gatewayPort);
    const [, , script = ""] = rules.command ?? [];
    expectRules(script);
    expect(script).toContain(`--except-uid ${sidecar.securityContext.runAsUser} `);
  });

  test("gives the network to the sidecar and the rules alone, and the agent another user", () => {
    for (const { securityContext } of all) {
      expect(securityContext.capabilities.drop).toEqual(["ALL"]);
    }
    for (const { securityContext } of [rules, sidecar]) {
      expect(securityContext.capabilities.add).toEqual(["NET_ADMIN"]);
    }
    const { runAsUser, runAsNonRoot, allowPrivilegeEscalation, capabilities } =
      agent.securityContext;
    expect([runAsNonRoot, allowPrivilegeEscalation, capabilities.add]).toEqual([
      true,
      false,
      undefined,
    ]);
    expect([0, sidecar.securityContext.runAsUser]).not.toContain(runAsUser);
  });

  test("mounts what the sidecar is told of, where it may read or write it, and nothing for nobody", () => {
    expect(mountOf(sidecar, config.dataFolder).readOnly).toBeUndefined();
    expect(mountOf(sidecar, config.keysFolder).readOnly).toBeUndefined();
    expect(mountOf(sidecar, config.manifestFile).readOnly).toBe(true);
    const token = mountOf(sidecar, config.tokenFile as string);
    expect(token.readOnly).toBe(true);
    // A secret's files are root's; who else is to read them shares the group of volumes.
    expect(spec.volumes.find((v) => v.name === token.name)?.secret?.defaultMode).toBe(0o400);
    expect(spec.securityContext.fsGroup).toBe(sidecar.securityContext.runAsGroup);
    for (const { value } of agent.env ?? []) expect(mountOf(agent, value).readOnly).toBe(true);
    const mounted = all.flatMap((c) => c.volumeMounts ?? []).map((m) => m.name);
    expect([...new Set(mounted)].sort()).toEqual(spec.volumes.map((v) => v.name).sort());
    // Its keys and its state are not the agent's to see.
    const ours = (sidecar.volumeMounts ?? []).map((m) => m.name);
    expect(agent.volumeMounts?.filter((m) => ours.includes(m.name))).toEqual([]);
  });
});

describe("the unit", () => {
  const file = "deploy/gateway/dragons-gateway.service";
  const settings = new Map(
    read(file)
      .replaceAll("\\\n", " ")
      .split("\n")
      .filter((line) => /^\w+=/.test(line))
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
  const setting = (name: string): string => settings.get(name) ?? "";

  test.skipIf(lacks("systemd-analyze"))("is one that systemd takes without a word", () => {
    const folder = mkdtempSync(join(tmpdir(), "dragons-unit-"));
    const copy = join(folder, "dragons-gateway.service");
    // It asks for programs that are there.
    writeFileSync(copy, read(file).replaceAll("/usr/bin/dragons", LAUNCHER));
    const { stdout, stderr, status } = spawnSync(SYSTEMD, ["verify", copy], {
      encoding: "utf8",
    });
    rmSync(folder, { recursive: true });
    expect([stdout, stderr, status]).toEqual(["", "", 0]);
  });

  test("starts a sidecar that its command line knows, on folders that are its own", () => {
    const [program, verb, ...words] = setting("ExecStart").trim().split(/\s+/);
    expect([program, verb]).toEqual(["/usr/bin/dragons", "sidecar"]);
    const config = parseSidecarArgs(words);
    expect(standingOf(config).enforcement).toBe("GATEWAY");
    expect(config.gateway?.port).toBe(gatewayPort);
    const state = setting("StateDirectory").split(" ");
    expect(state.map((name) => `/var/lib/${name}`)).toEqual([config.dataFolder, config.keysFolder]);
    expect(setting("StateDirectoryMode")).toBe("0700");
    const [credential] = setting("LoadCredential").split(":");
    expect(config.tokenFile).toBe(`\${CREDENTIALS_DIRECTORY}/${credential}`);
    expect(setting("AmbientCapabilities")).toBe("CAP_NET_ADMIN");
    expect(setting("CapabilityBoundingSet")).toBe("CAP_NET_ADMIN");
  });

  test("loads rules that a shell can read, before it starts", () => {
    const script = /-c '(.*)'$/.exec(setting("ExecStartPre"))?.[1] ?? "";
    expectRules(script);
    expect(read(file)).toContain(`as the gateway of ${/--interface (\S+)/.exec(script)?.[1]}`);
  });
});

test("whatever is deployed by has a test here", () => {
  const files = readdirSync(join(HOME, "deploy"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name);
  expect(files.sort()).toEqual(["dragons-gateway.service", "pod.yaml"]);
});
