import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openRig, type Rig } from "../datapath/harness.ts";
import {
  AUTHORIZATION,
  type SocketUpstream,
  socketUpstream,
  Wire,
} from "../datapath/http-client.ts";
import { lacks, PATH } from "../skips.ts";
import { CORPUS, spell } from "./smuggling-corpus.ts";

let rig: Rig;
beforeAll(async () => {
  rig = await openRig();
});
afterAll(() => rig.close());

/** Says a case to the sidecar, and returns all that it answered. */
async function say(bytes: string, port: number): Promise<string> {
  const wire = await Wire.open(rig);
  wire.say(spell(bytes, `127.0.0.1:${port}`, AUTHORIZATION));
  const text = await wire.all();
  wire.close();
  return text;
}

test("the corpus is as large as it was meant to be", () => {
  expect(CORPUS.length).toBeGreaterThanOrEqual(60);
  expect(new Set(CORPUS.map((c) => c.name)).size).toBe(CORPUS.length);
});

describe("before a bare socket", () => {
  let upstream: SocketUpstream;
  beforeAll(async () => {
    upstream = await socketUpstream((socket, heard) => {
      // It answers whatever looks like the end of a request, so that one that was smuggled goes on.
      if (/\r\n\r\n(?:hi)?$/.test(heard)) {
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
      }
    });
  });
  afterAll(() => upstream.close());

  test.each(CORPUS)(
    "$name",
    async ({ bytes, seen }) => {
      upstream.heard.length = 0;
      const [opened, closed] = [rig.ledger.opened.length, rig.ledger.closed.length];
      const recorded = rig.ledger.recorded.length;
      const text = await say(bytes, upstream.port);
      await rig.gate.idle();
      const heard = upstream.heard.join("");
      const receipts = rig.ledger.closed.slice(closed);
      expect(receipts).toHaveLength(rig.ledger.opened.length - opened);
      if (seen === null) {
        // What does not even begin like HTTP is reset.
        expect(text).toMatch(/^(?:HTTP\/1.1 (?:400|403|431|501) |$)/);
        expect(heard).not.toContain("smuggled");
        // Nothing, or a head whose body never came to its end.
        expect(heard).not.toMatch(/0\r\n(?:.*\r\n)*\r\n$/);
        expect(
          receipts.every((r) => r.verdict === "FAILED" && r.reason === "FRAMING_INVALID"),
        ).toBe(true);
        expect(receipts.length + rig.ledger.recorded.length - recorded).toBe(1);
        if (receipts.length === 0) expect(heard).toBe("");
      } else {
        expect(text).toMatch(/^HTTP\/1.1 200 /);
        expect(heard).toBe(spell(seen, `127.0.0.1:${upstream.port}`, ""));
        expect(receipts).toMatchObject([{ verdict: "COMPLETED" }]);
      }
    },
    5000,
  );
});

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

interface RealServer {
  readonly port: number;
  /** `METHOD URI STATUS` of each request that it read, as it logged them. */
  log(): string[];
  stop(): Promise<void>;
}

async function start(
  command: string,
  args: string[],
  port: number,
  folder: string,
  log: () => string,
): Promise<RealServer> {
  const env = { ...process.env, PATH };
  const child = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.on("data", (c) => {
    output += c;
  });
  child.stderr.on("data", () => {});
  await expect
    .poll(async () => {
      const wire = await Wire.to(port).catch(() => null);
      wire?.close();
      return wire !== null;
    })
    .toBe(true);
  return {
    port,
    log: () => (log() + output).split("\n").filter((line) => /^[A-Z]+ \S+ \d+$/.test(line)),
    async stop() {
      const exited = once(child, "exit");
      child.kill("SIGTERM");
      await exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function nginx(): Promise<RealServer> {
  const folder = mkdtempSync(join(tmpdir(), "dragons-nginx-"));
  const port = await freePort();
  const file = join(folder, "nginx.conf");
  const log = join(folder, "access.log");
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${folder}/${name};`)
    .join(" ");
  writeFileSync(
    file,
    `daemon off; pid ${folder}/pid; error_log ${folder}/error.log; worker_processes 1;
events {} http { ${temporary}
log_format plain '$request_method $request_uri $status'; access_log ${log} plain;
server { listen 127.0.0.1:${port}; location / { return 200; } } }`,
  );
  const read = () => (existsSync(log) ? readFileSync(log, "utf8") : "");
  return start(
    "nginx",
    ["-c", file, "-p", folder, "-e", join(folder, "error.log")],
    port,
    folder,
    read,
  );
}

async function haproxy(): Promise<RealServer> {
  const folder = mkdtempSync(join(tmpdir(), "dragons-haproxy-"));
  const port = await freePort();
  const file = join(folder, "haproxy.cfg");
  writeFileSync(
    file,
    `global
  log stdout format raw local0
defaults
  mode http
  log global
  timeout client 5s
  timeout connect 5s
  timeout server 5s
frontend in
  bind 127.0.0.1:${port}
  log-format "%HM %HU %ST"
  http-request return status 200
`,
  );
  return start("haproxy", ["-db", "-f", file], port, folder, () => "");
}

describe.each([
  ["nginx", nginx],
  ["haproxy", haproxy],
] as const)("before %s", (program, run) => {
  test.skipIf(lacks(program))(
    `${program} reads exactly the requests that have receipts`,
    async () => {
      const server = await run();
      try {
        const before = rig.ledger.closed.length;
        for (const { bytes } of CORPUS) await say(bytes, server.port);
        await rig.gate.idle();
        const receipts = rig.ledger.closed.slice(before);
        const told = receipts
          .filter((r) => r.verdict === "COMPLETED")
          .map(({ draft: { claim } }) => `${claim.verb} ${claim.path}`);
        expect(told.length).toBeGreaterThanOrEqual(CORPUS.filter((c) => c.seen !== null).length);
        await expect.poll(() => answered(server)).toEqual(told.sort());
        expect(server.log().join("\n")).not.toContain("smuggled");
        // It saw nothing but what it could read: all that was wrong was seen before.
        expect(server.log().filter((l) => l.endsWith(" 400") && !l.includes("/ok"))).toEqual([]);
      } finally {
        await server.stop();
      }
    },
  );
});

/** What it answered with 200, without queries. */
const answered = (server: RealServer): string[] =>
  server
    .log()
    .filter((line) => line.endsWith(" 200"))
    .map((line) => line.replace(/(?:\?\S*)? 200$/, ""))
    .sort();
