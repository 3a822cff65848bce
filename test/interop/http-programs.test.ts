import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { sameRule } from "../../src/domain/rule.ts";
import { parseManifestYaml } from "../../src/native/manifest-yaml.ts";
import type { Issued } from "../../src/native/pki.ts";
import { lacks } from "../skips.ts";
import { type Bench, everything, openBench } from "./http/run.ts";
import { type HttpPeers, startPeers } from "./http/server.ts";
import { countVerdicts } from "./rig.ts";

const EXAMPLES = join(import.meta.dirname, "../../examples");

/** Real programs, end to end, that know nothing of Dragons. */
// Programs of others take their time to start on a busy machine.
vi.setConfig({ testTimeout: 120_000 });

let bench: Bench;
let git: Served;
let registry: Served;
let model: HttpPeers;

type Handle = (request: IncomingMessage, response: ServerResponse, base: string) => void;
interface Served {
  readonly http: number;
  readonly https: number;
  close(): void;
}

/** The same over HTTP and HTTPS. */
async function serve({ certPem, keyPem }: Issued, handle: () => Handle): Promise<Served> {
  const servers = [createServer(), createSecureServer({ cert: certPem, key: keyPem })] as const;
  const ports: number[] = [];
  for (const [i, server] of servers.entries()) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    ports.push(port);
    const base = `${i === 0 ? "http" : "https"}://localhost:${port}`;
    server.on("request", (request: IncomingMessage, response: ServerResponse) =>
      handle()(request, response, base),
    );
  }
  const [http, https] = ports as [number, number];
  return {
    http,
    https,
    close() {
      for (const server of servers) {
        server.closeAllConnections();
        server.close();
      }
    },
  };
}

/** git's own server, by CGI. */
const gitBackend =
  (root: string): Handle =>
  (request, response) => {
    const [path, query] = (request.url ?? "").split("?") as [string, string?];
    const child = spawn("git", ["http-backend"], {
      env: {
        ...process.env,
        GIT_PROJECT_ROOT: root,
        GIT_HTTP_EXPORT_ALL: "1",
        REMOTE_USER: "agent",
        PATH_INFO: path,
        QUERY_STRING: query ?? "",
        REQUEST_METHOD: request.method,
        CONTENT_TYPE: request.headers["content-type"] ?? "",
        HTTP_CONTENT_ENCODING: request.headers["content-encoding"] ?? "",
        ...(request.headers["content-length"] === undefined
          ? {}
          : { CONTENT_LENGTH: request.headers["content-length"] }),
      },
    });
    request.pipe(child.stdin);
    child.stdin.on("error", () => {});
    let head = "";
    child.stdout.on("data", (chunk: Buffer) => {
      if (response.headersSent) {
        response.write(chunk);
        return;
      }
      head += chunk.toString("latin1");
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) return;
      const fields = head
        .slice(0, end)
        .split("\r\n")
        .map((l) => l.split(": ") as [string, string]);
      const status = Number(fields.find(([name]) => name === "Status")?.[1].slice(0, 3) ?? 200);
      response.writeHead(status, fields.filter(([name]) => name !== "Status").flat());
      response.write(Buffer.from(head.slice(end + 4), "latin1"));
    });
    child.on("close", () => response.end());
  };

/** A registry of two packages, one of them scoped, so that its name has an escaped slash. */
function npmRegistry(tarball: Buffer): Handle {
  const integrity = `sha512-${createHash("sha512").update(tarball).digest("base64")}`;
  return (request, response, base) => {
    const path = decodeURIComponent(request.url ?? "");
    if (path.endsWith(".tgz")) {
      response.end(tarball);
      return;
    }
    const name = path.slice(1);
    const dependencies = name === "plain" ? { "@scoped/inner": "1.0.0" } : {};
    const dist = { tarball: `${base}/${name}/-/package-1.0.0.tgz`, integrity };
    const version = { name, version: "1.0.0", dependencies, dist };
    response.setHeader("Content-Type", "application/json");
    response.end(
      JSON.stringify({ name, "dist-tags": { latest: "1.0.0" }, versions: { "1.0.0": version } }),
    );
  };
}

beforeAll(async () => {
  let handleGit: Handle = () => {};
  let handleNpm: Handle = () => {};
  bench = await openBench(async (leaf) => {
    git = await serve(leaf, () => handleGit);
    registry = await serve(leaf, () => handleNpm);
    model = await startPeers({ cert: leaf.certPem, key: leaf.keyPem });
    // What the examples' own manifests allow, at this test's place. Both ask a model the same way.
    const allowed = ["research", "triage"].flatMap((example) => {
      const text = readFileSync(join(EXAMPLES, example, "dragon.yaml"), "utf8");
      return parseManifestYaml(text).capabilities.flatMap(({ rules }) => rules);
    });
    const moved = allowed.map((rule) => ({ ...rule, target: `localhost:${model.https}` }));
    const chat = moved.filter((r, i) => moved.findIndex((m) => sameRule(m, r)) === i);
    const granted = [git, registry].flatMap(({ http, https }) => [
      ...everything(`localhost:${http}`, "HTTP", ["GET", "POST"]),
      ...everything(`localhost:${https}`, "HTTPS", ["GET", "POST"]),
    ]);
    return [...granted, ...chat];
  });
  handleGit = gitBackend(join(bench.folder, "served"));
  mkdirSync(join(bench.folder, "package"));
  writeFileSync(
    join(bench.folder, "package", "package.json"),
    '{"name":"package","version":"1.0.0"}',
  );
  writeFileSync(
    join(bench.folder, "package", "data.bin"),
    createHash("sha512").update("x").digest(),
  );
  await bench.run(bench.straight, "tar", ["czf", "package.tgz", "package"]);
  handleNpm = npmRegistry(readFileSync(join(bench.folder, "package.tgz")));
});
afterAll(async () => {
  await bench.close();
  for (const server of [git, registry, model]) server.close();
});

describe.each(["http", "https"] as const)("by %s", (scheme) => {
  test.skipIf(lacks("git"))("git clones and pushes", async () => {
    const run = (args: string[], cwd?: string) => bench.run(bench.governed, "git", args, cwd);
    const who = [
      "-c",
      "user.name=a",
      "-c",
      "user.email=a@example.com",
      "-c",
      "http.postBuffer=4096",
    ];
    const served = join(bench.folder, "served", `${scheme}.git`);
    await run(["init", "-q", "--bare", "-b", "main", served]);
    await run(["-C", served, "config", "http.receivepack", "true"]);
    const work = join(bench.folder, `work-${scheme}`);
    const url = `${scheme}://localhost:${git[scheme]}/${scheme}.git`;
    expect(await run(["clone", "-q", url, work])).toBe("");
    // Larger than git's buffer, so that it is sent in chunks.
    for (let i = 0; i < 20; i++) {
      const bytes = Array.from({ length: 64 }, (_, j) =>
        createHash("sha512").update(`${i} ${j}`).digest(),
      );
      writeFileSync(join(work, `file-${i}`), Buffer.concat(bytes));
    }
    await run(["add", "."], work);
    await run([...who, "commit", "-q", "-m", "files"], work);
    expect(await run([...who, "push", "-q", "origin", "HEAD:main"], work)).toBe("");
    const again = join(bench.folder, `again-${scheme}`);
    expect(await run(["clone", "-q", url, again])).toBe("");
    expect(await run(["rev-parse", "HEAD"], again)).toBe(await run(["rev-parse", "main"], served));
    expect(await run(["fsck", "--strict"], again)).not.toMatch(/exit|error/);
  });

  test.skipIf(lacks("npm"))("npm installs from a registry", async () => {
    const project = join(bench.folder, `project-${scheme}`);
    mkdirSync(project);
    writeFileSync(join(project, "package.json"), '{"name":"project","version":"1.0.0"}');
    // Somebody's own settings, which would lead round the sidecar.
    const roots = join(bench.folder, "roots.pem");
    writeFileSync(roots, rootCertificates.join("\n"));
    writeFileSync(join(project, ".npmrc"), `cafile=${roots}\nnoproxy=localhost\n`);
    const args = ["install", "plain", "--registry", `${scheme}://localhost:${registry[scheme]}/`];
    const quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-update-notifier"];
    const cache = ["--cache", join(project, "cache"), "--prefix", project];
    const said = await bench.run(bench.governed, "npm", [...args, ...quiet, ...cache], project);
    expect(said).not.toMatch(/exit \d/);
    for (const name of ["plain", "@scoped/inner"]) {
      expect(readFileSync(join(project, "node_modules", name, "data.bin"))).toEqual(
        createHash("sha512").update("x").digest(),
      );
    }
  });
});

test.skipIf(lacks("python3"))(
  "an unmodified Python agent talks to a model by events, and may not spend what it was not granted",
  async () => {
    const args = [
      join(EXAMPLES, "research", "my_agent.py"),
      `https://localhost:${model.https}`,
      "so many words",
    ];
    const said = await bench.run(bench.governed, "python3", args);
    expect(said).toBe("answer: so many words\nnot filed: 403 SCOPE_NOT_GRANTED\n");
    await bench.settled();
  },
);

test("an unmodified Node agent reads, talks to a model by events, and may not do what it was not granted", async () => {
  const args = [join(EXAMPLES, "triage", "my_agent.mjs"), `https://localhost:${model.https}`, "7"];
  const said = await bench.run(bench.governed, process.execPath, args);
  expect(said).toBe(
    "ticket 7: the door is stuck\nanswer: the door is stuck\nnot closed: 403 SCOPE_NOT_GRANTED\n",
  );
  await bench.settled();
});

test("all of it was granted but what the agents tried, and nothing is left open", async () => {
  await bench.settled();
  const { CUT = 0, INDETERMINATE = 0, DENIED = 0 } = countVerdicts(bench.sidecar.receipts());
  expect({ CUT, INDETERMINATE, DENIED }).toEqual({
    CUT: 0,
    INDETERMINATE: 0,
    DENIED: lacks("python3") ? 1 : 2,
  });
});
