import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { sameRule } from "../../src/domain/rule.ts";
import { parseManifestYaml } from "../../src/native/manifest-yaml.ts";
import { lacks } from "../skips.ts";
import { gitBackend, type Handle, npmRegistry, type Served, serve } from "./http/programs.ts";
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
