import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tls from "node:tls";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readConfig, UsageError } from "../../src/control/config.ts";
import type { ControlReady } from "../../src/control/main.ts";
import { KEYSET } from "../../src/domain/keyset.ts";
import { signBody } from "../../src/domain/signing.ts";
import { TenantService } from "../../src/gen/dragons/v1/authority_pb.ts";
import {
  Health,
  HealthCheckResponse_ServingStatus,
} from "../../src/gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "../../src/gen/grpc/reflection/v1/reflection_pb.ts";
import { createClient, openChannel, type RpcChannel } from "../../src/wire/grpc.ts";
import type { CallOptions } from "../../src/wire/rpc.ts";
import type { StatusError } from "../../src/wire/status.ts";
import { lacks } from "../skips.ts";
import { keysetBody, newSigner, refusalOf } from "./world.ts";

const MAIN = fileURLToPath(new URL("../../src/control/main.ts", import.meta.url));

let folder: string;
let children: ChildProcess[];
let channels: RpcChannel[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "dragons-control-process-"));
  children = [];
  channels = [];
});
afterEach(async () => {
  for (const channel of channels) channel.close();
  for (const child of children) child.kill("SIGKILL");
  await rm(folder, { recursive: true });
});

interface Child {
  readonly process: ChildProcess;
  readonly stderr: () => string;
  /** Resolves with the exit code. */
  readonly exit: Promise<number | null>;
  /** Resolves when it has said that it is ready; rejects when it ended before. */
  readonly ready: Promise<ControlReady>;
}

function start(...flags: string[]): Child {
  const child = spawn(process.execPath, [MAIN, ...flags], { stdio: ["pipe", "ignore", "pipe"] });
  children.push(child);
  let said = "";
  const exit = new Promise<number | null>((resolve) => child.on("close", resolve));
  const ready = new Promise<ControlReady>((resolve, reject) => {
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      said += chunk;
      if (!said.includes("ready on")) return;
      readFile(join(folder, "ready.json"), "utf8")
        .then((text) => resolve(JSON.parse(text)))
        .catch(reject);
    });
    child.on("close", (code) => reject(new Error(`ended with ${code}: ${said}`)));
  });
  // Not every test waits for it.
  ready.catch(() => {});
  return { process: child, stderr: () => said, exit, ready };
}

const flags = (): string[] => [
  "--data",
  join(folder, "data"),
  "--listen",
  "127.0.0.1:0",
  "--ready-file",
  join(folder, "ready.json"),
];

async function channelTo(ready: ControlReady): Promise<RpcChannel> {
  const channel = openChannel({
    address: ready.control,
    tls: { ca: await readFile(ready.controlCa) },
    messageBytesMax: 1_000_000,
    keepaliveUs: 60_000_000,
    keepaliveTimeoutUs: 10_000_000,
  });
  channels.push(channel);
  return channel;
}

async function ownerOf(ready: ControlReady): Promise<CallOptions> {
  const token = await readFile(ready.bootstrapTokenFile, "utf8");
  return { metadata: { authorization: `Bearer ${token.trim()}` } };
}

const servingName = (status: number): string | undefined =>
  Object.entries(HealthCheckResponse_ServingStatus).find(([, value]) => value === status)?.[0];

/** Makes a disk fail, where the machine has it and lets it. */
const STRACE = "strace";
/** From when this resolves, every fdatasync of the process fails. */
function withFailingDisk(pid: number | undefined): Promise<void> {
  const flags = ["-f", "-p", `${pid}`, "-e", "trace=fdatasync"];
  const strace = spawn(STRACE, [...flags, "-e", "inject=fdatasync:error=EIO"]);
  children.push(strace);
  return new Promise((resolve) => {
    strace.stderr.setEncoding("latin1").on("data", (chunk: string) => {
      if (chunk.includes("attached")) resolve();
    });
  });
}

describe("dragons control", () => {
  test("is ready when its ready file is there, serves health and reflection, ends on SIGTERM", async () => {
    const control = start(...flags());
    const ready = await control.ready;
    expect(ready.pid).toBe(control.process.pid);
    expect((await stat(join(folder, "ready.json"))).mode & 0o777).toBe(0o600);
    const channel = await channelTo(ready);
    const { status } = await createClient(Health, channel).check({
      service: TenantService.typeName,
    });
    expect(status).toBe(HealthCheckResponse_ServingStatus.SERVING);
    const asked = async function* () {
      yield { messageRequest: { case: "listServices" as const, value: "" } };
    };
    const listed = [];
    for await (const answer of createClient(ServerReflection, channel).serverReflectionInfo(
      asked(),
    )) {
      listed.push(answer);
    }
    expect(JSON.stringify(listed[0]?.messageResponse)).toContain("dragons.v1.GrantService");
    channel.close();
    control.process.kill("SIGTERM");
    expect(await control.exit).toBe(0);
    expect(control.stderr().trim().split("\n")).toHaveLength(1);
  });

  test("does not wait for streams: a watcher hears NOT_SERVING, and to come back later", async () => {
    const control = start(...flags());
    const health = createClient(Health, await channelTo(await control.ready));
    const heard: unknown[] = [];
    try {
      for await (const { status } of health.watch({ service: "" })) {
        heard.push(servingName(status));
        if (heard.length === 1) control.process.kill("SIGTERM");
      }
    } catch (error) {
      heard.push((error as StatusError).code, (error as StatusError).reason);
    }
    expect(heard.slice(0, 2)).toEqual(["SERVING", "NOT_SERVING"]);
    expect(heard.slice(2)).toEqual(["UNAVAILABLE", "SHUTTING_DOWN"]);
    const from = performance.now();
    expect(await control.exit).toBe(0);
    expect(performance.now() - from).toBeLessThan(5000);
  });

  test("ends when stdin does, if told to", async () => {
    const control = start(...flags(), "--stdin-eof");
    await control.ready;
    control.process.stdin?.end();
    expect(await control.exit).toBe(0);
  });

  test("killed outright, it starts again with everything that it had acknowledged", async () => {
    const first = start(...flags());
    const before = await first.ready;
    const owner = await ownerOf(before);
    const prepared = await createClient(TenantService, await channelTo(before)).prepareTenant(
      { tenantId: "acme" },
      owner,
    );
    first.process.kill("SIGKILL");
    await first.exit;
    const second = start(...flags());
    const after = await second.ready;
    expect(after.audience).toBe(before.audience);
    const again = await createClient(TenantService, await channelTo(after)).prepareTenant(
      { tenantId: "acme" },
      owner,
    );
    expect(again).toEqual(prepared);
  });

  test.skipIf(lacks("strace"))(
    "a disk that fails ends it with 70, and the next start carries the request out once",
    async () => {
      const first = start(...flags());
      const ready = await first.ready;
      const owner = await ownerOf(ready);
      const tenants = createClient(TenantService, await channelTo(ready));
      const prepared = await tenants.prepareTenant({ tenantId: "acme" }, owner);
      const root = newSigner();
      const people = {
        tenantId: "acme",
        grantKey: newSigner(),
        logins: { VIEWER: newSigner(), OPERATOR: newSigner(), ADMIN: newSigner() },
      };
      const body = keysetBody(people, Date.now() * 1000, prepared);
      const request = {
        requestId: "make",
        tenantId: "acme",
        rootKey: root.publicKey,
        keyset: await signBody(KEYSET, body, [root]),
      };
      await withFailingDisk(first.process.pid);
      const refused = await refusalOf(tenants.createTenant(request, owner));
      expect(["UNAVAILABLE", "INTERNAL"]).toContain(refused.code);
      expect(await first.exit).toBe(70);
      const second = start(...flags());
      const after = createClient(TenantService, await channelTo(await second.ready));
      expect(await after.createTenant(request, owner)).toMatchObject({ revision: 1n });
      expect(await after.createTenant(request, owner)).toMatchObject({ revision: 1n });
    },
  );

  test("leaves a data folder alone that another process holds: 75", async () => {
    const first = start(...flags());
    await first.ready;
    const second = start(...flags());
    expect(await second.exit).toBe(75);
    expect(second.stderr()).toContain(`held by process ${first.process.pid}`);
  });

  test("is known by every name that its certificate was told to carry", async () => {
    const control = start(...flags(), "--name", "control.internal", "--name", "10.1.2.3");
    const ready = await control.ready;
    const [host, port] = ready.control.split(":");
    const ca = await readFile(ready.controlCa);
    const names = await new Promise<string>((resolve, reject) => {
      const socket = tls.connect({ host, port: Number(port), ca, ALPNProtocols: ["h2"] }, () => {
        resolve(socket.getPeerCertificate().subjectaltname ?? "");
        socket.destroy();
      });
      socket.on("error", reject);
    });
    for (const name of ["DNS:localhost", "IP Address:127.0.0.1", "IP Address:0:0:0:0:0:0:0:1"]) {
      expect(names.split(", ")).toContain(name);
    }
    expect(names.split(", ")).toContain("DNS:control.internal");
    expect(names.split(", ")).toContain("IP Address:10.1.2.3");
  });

  test("gives nobody a ticket that it would not take", async () => {
    const control = await start(...flags()).ready;
    const ca = await readFile(control.controlCa);
    const [host, port] = control.control.split(":");
    const socket = tls.connect({ host, port: Number(port), ca, ALPNProtocols: ["h2"] });
    let tickets = 0;
    socket.on("session", () => tickets++);
    // Whatever tickets there are come before the first byte of HTTP/2.
    await once(socket, "data");
    expect(socket.getProtocol()).toBe("TLSv1.3");
    expect(tickets).toBe(0);
    socket.destroy();
  });

  test("says which address is taken: 78", async () => {
    const first = start(...flags());
    const { control } = await first.ready;
    const second = start("--data", join(folder, "other"), "--listen", control);
    expect(await second.exit).toBe(78);
    expect(second.stderr()).toContain(`--listen: ${control}`);
  });

  test.each([
    [[], "--data"],
    [["--data", ""], "--data"],
    [["--data", "x", "--listen", "7443"], "--listen"],
    [["--data", "x", "--listen", "127.0.0.1:99999"], "--listen"],
    [["--data", "x", "--listen", "exa mple:1"], "--listen"],
    [["--data", "x", "--name", "a b"], "--name"],
    [["--data", "x", "--no-such"], "--no-such"],
    [["--data", "x", "extra"], "extra"],
  ])("names the flag that cannot be used: %j", (argv, flag) => {
    expect(() => readConfig(argv)).toThrow(UsageError);
    expect(() => readConfig(argv)).toThrow(flag);
  });

  test("a flag that cannot be used ends it with 64", async () => {
    const control = start("--listen", "7443");
    expect(await control.exit).toBe(64);
  });

  test("reads IPv6 addresses in brackets", () => {
    expect(readConfig(["--data", "x", "--listen", "[::1]:7443"]).listen).toEqual({
      host: "::1",
      port: 7443,
    });
  });
});
