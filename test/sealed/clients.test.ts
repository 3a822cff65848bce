import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer, text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type RunningControl, runControl } from "../../src/control/main.ts";
import { systemClock } from "../../src/native/clock.ts";
import { createCa, type Issued, issueServer } from "../../src/native/pki.ts";
import { Terminal } from "../cli/terminal.ts";
import { CASES, SERVICE } from "../interop/cases.ts";
import { gitBackend, npmRegistry, pipIndex, type Served, serve } from "../interop/http/programs.ts";
import { type HttpPeers, startPeers } from "../interop/http/server.ts";
import { openService, type Service } from "../interop/service.ts";
import { lacks } from "../skips.ts";
import { as, PLAIN } from "./rig.ts";

/**
 * The clients of test/interop in a cage: told of no proxy, they print what they print outside of it, to
 * the byte. By proxy variables the same is held there.
 */

const LAUNCHER = join(import.meta.dirname, "../../bin/dragons");
const INTEROP = join(import.meta.dirname, "../interop");
/** Not a program that this package brings, or needs. */
const COMPILER = "go";
/** Calls whose end depends on no clock, by the service that all of them reach. */
const CALLS = CASES.map(([one]) => one).filter(
  (c) => c.path.startsWith(SERVICE) && c.deadlineMs === null && c.cancelAfter === null && !c.gzip,
);

let terminal: Terminal;
let control: RunningControl;
let peers: HttpPeers;
let programs: Served;
let service: Service;
let words: string[];

beforeAll(async () => {
  const times = { nowUs: Date.now() * 1000, ttlUs: 3_600_000_000 };
  const ca = await createCa("Upstreams", times);
  const leaf = await issueServer(ca, ["127.0.0.1"], times);
  peers = await startPeers({ cert: leaf.certPem, key: leaf.keyPem });
  service = await openService(null);
  terminal = await Terminal.open();
  control = await runControl(
    {
      data: terminal.path("control"),
      listen: { host: "127.0.0.1", port: 0 },
      names: [],
      readyFile: terminal.path("ready.json"),
      stdinEof: false,
    },
    { clock: systemClock },
  );
  await terminal.dragons("tenant", "create", "acme", "--ready", "ready.json", "--operator", "al");
  programs = await openPrograms(leaf);
  const { http, https, http2 } = peers;
  const bases = [
    `http://127.0.0.1:${http}`,
    `https://127.0.0.1:${https}`,
    `https://127.0.0.1:${http2}`,
    `http://127.0.0.1:${programs.http}`,
    `https://127.0.0.1:${programs.https}`,
  ];
  const methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];
  const rules = [
    ...bases.flatMap((base) => methods.map((m) => `    - http: ${m} ${base}/*`)),
    ...bases
      .slice(3)
      .flatMap((base) => [
        ...[2, 3, 4, 5].map((deep) => `    - http: GET ${base}${"/*".repeat(deep)}`),
        `    - http: GET ${base}/npm/*%2F*`,
        `    - http: POST ${base}/served.git/git-upload-pack`,
      ]),
  ];
  const place = `127.0.0.1:${service.port}`;
  const manifest = [
    ...["name: clients", "version: v1", "code: [clients.sh]", "runtime: sh", "capabilities:"],
    ...["  use:peers:", ...rules, `    - grpc: ${SERVICE.slice(1)}*`, `      at: ${place}`, ""],
  ];
  writeFileSync("dragon.yaml", manifest.join("\n"));
  copyFileSync(join(import.meta.dirname, "clients.sh"), "clients.sh");
  writeFileSync("upstreams.pem", ca.certPem);
  const job = { tls: false, target: place, gzipTarget: place, cases: CALLS };
  writeFileSync("job.json", JSON.stringify(job));
  let go = "";
  if (!lacks("go")) {
    go = terminal.path("go-client");
    const build = ["build", "-o", go, join(INTEROP, "http", "client.go")];
    expect(spawnSync(COMPILER, build, { env: { ...process.env, CGO_ENABLED: "0" } }).status).toBe(
      0,
    );
  }
  words = ["clients.sh", process.execPath, INTEROP, ...bases, "job.json", go];
  const { uid, gid } = as("nobody");
  if (uid !== undefined) spawnSync("chown", ["-R", `${uid}:${gid}`, terminal.folder]);
}, 120_000);
afterAll(async () => {
  await control.close();
  await terminal.close();
  peers.close();
  programs.close();
  service.close();
});

/** One server for git, npm and pip, each under a path of its own. */
async function openPrograms(leaf: Issued): Promise<Served> {
  const folder = mkdtempSync(join(tmpdir(), "dragons-programs-"));
  const sh = `
    mkdir package work plain plain-1.0.dist-info && echo '{"name":"package","version":"1.0.0"}' >package/package.json
    tar czf package.tgz package
    if command -v git >/dev/null; then
      head -c 200000 /dev/urandom >work/file && git init -q -b main work && git -C work add file
      git -C work -c user.name=a -c user.email=a@example.com commit -q -m file
      git clone -q --bare work served.git
    fi
    echo 'x = 1' >plain/__init__.py && : >plain-1.0.dist-info/RECORD
    printf 'Metadata-Version: 2.1\\nName: plain\\nVersion: 1.0\\n' >plain-1.0.dist-info/METADATA
    printf 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n' >plain-1.0.dist-info/WHEEL
    /usr/bin/python3 -m zipfile -c plain.whl plain plain-1.0.dist-info`;
  const { status, stderr } = spawnSync("sh", ["-ec", sh], { cwd: folder, encoding: "utf8" });
  expect([status, stderr]).toEqual([0, ""]);
  const git = gitBackend(folder);
  const npm = npmRegistry(readFileSync(join(folder, "package.tgz")));
  const pip = pipIndex(readFileSync(join(folder, "plain.whl")));
  const served = await serve(leaf, () => (request, response, base) => {
    const [, first] = (request.url ?? "").split("/");
    const handle = first === "npm" ? npm : first === "pip" ? pip : git;
    if (handle !== git) request.url = request.url?.slice(1 + (first as string).length);
    handle(request, response, handle === git ? base : `${base}/${first}`);
  });
  return {
    ...served,
    close() {
      served.close();
      rmSync(folder, { recursive: true });
    },
  };
}

/** What a program prints, section by section. */
async function printed(command: string, args: string[], env: Record<string, string>) {
  const options = { ...as("nobody"), cwd: terminal.folder, stdio: "pipe" as const };
  const child = spawn(command, args, { ...options, env: { ...PLAIN, ...env } });
  child.stdin.end();
  const [out, err, code] = await Promise.all([
    buffer(child.stdout),
    text(child.stderr),
    new Promise<number>((resolve) => child.once("close", (c) => resolve(c ?? -1))),
  ]);
  expect(code, err).toBe(0);
  const sections = out.toString("latin1").split("\n== ").slice(1);
  return new Map(
    sections.map((section): [string, string] => {
      const end = section.indexOf("\n");
      return [section.slice(0, end), endToEnd(section.slice(end + 1))];
    }),
  );
}

/** Without the fields that are of one connection, or of the moment. */
const endToEnd = (seen: string): string =>
  seen
    .replace(/^(?:connection|keep-alive): .*\r\n/gim, "")
    .replace(/\["date", ?"[^"]*"\],? ?/g, "");

test.skipIf(lacks("cage"))(
  "every client sees in a cage what it sees outside of it, to the byte",
  async () => {
    const trust = terminal.path("upstreams.pem");
    const trusting = {
      SSL_CERT_FILE: trust,
      CURL_CA_BUNDLE: trust,
      NODE_EXTRA_CA_CERTS: trust,
      GIT_SSL_CAINFO: trust,
      PIP_CERT: trust,
      npm_config_cafile: trust,
    };
    // The sidecar believes what its own system believes.
    const sealed = ["run", "--yes", "--", "sh", ...words];
    const [outside, inside] = await Promise.all([
      printed("sh", words, trusting),
      printed(process.execPath, [LAUNCHER, ...sealed], { SSL_CERT_FILE: trust }),
    ]);
    expect([...inside.keys()]).toEqual([...outside.keys()]);
    expect(outside.size).toBeGreaterThanOrEqual(8);
    for (const [name, seen] of outside) {
      expect(seen.length, name).toBeGreaterThan(60);
      expect(inside.get(name), name).toBe(seen);
    }
    const list = await terminal.dragons("receipt", "list", "--limit", "1000", "-o", "json");
    const receipts = JSON.parse(list.out) as { kind: string; verdict: string }[];
    const actions = receipts.filter((r) => r.kind === "ACTION");
    expect(actions.length).toBeGreaterThan(60);
    expect(receipts.filter((r) => r.kind === "DENIAL")).toEqual([]);
  },
  240_000,
);
