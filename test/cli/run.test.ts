import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type RunningControl, runControl } from "../../src/control/main.ts";
import { systemClock } from "../../src/native/clock.ts";
import { parseManifestYaml } from "../../src/native/manifest-yaml.ts";
import { Terminal } from "./terminal.ts";

/** `dragons run` of an agent that has no manifest: it is drafted once, and worked on from there. */

const LAUNCHER = join(import.meta.dirname, "../../bin/dragons");

let terminal: Terminal;
let control: RunningControl;
let draft: string;

beforeAll(async () => {
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
  await writeFile("my_agent.sh", "exit 3\n");
  await terminal.dragons("tenant", "create", "acme", "--ready", "ready.json", "--operator", "al");
  draft = terminal.path(".dragons/agents/my-agent/dragon.yaml");
});
afterAll(async () => {
  await control.close();
  await terminal.close();
});

/** Runs the agent to its end, under a sidecar of its own. */
async function run(...flags: string[]): Promise<{ code: number; said: string }> {
  const words = ["run", "--contain", "off", ...flags, "--", "sh", "my_agent.sh"];
  const child = spawn(process.execPath, [LAUNCHER, ...words], { stdio: "pipe" });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
  }
  const [code] = (await once(child, "close")) as [number];
  return { code, said };
}

test("a draft is made once, ends as the agent does, and keeps what is written into it", async () => {
  const first = await run();
  expect(first.said).toContain("it allows nothing yet; each refusal prints the --allow");
  expect(first.code).toBe(3);
  const text = `${await readFile(draft, "utf8")}# mine\n`;
  await writeFile(draft, text);
  expect((await run()).code).toBe(3);
  expect(await readFile(draft, "utf8")).toBe(text);
  // Nobody is brought aboard twice, though the process begins anew to keep its memory small.
  const docks = await terminal.dragons("dock", "list", "-o", "name");
  expect(docks.out.trim().split("\n")).toHaveLength(2);
});

test("--allow takes HTTP as refusals print it", async () => {
  expect((await run("--allow", "http GET http://h.example:8080/a.txt")).code).toBe(3);
  const text = await readFile(draft, "utf8");
  expect(text).toContain("- http: GET http://h.example:8080/a.txt");
  const wrong = await run("--allow", "http FETCH http://h.example/");
  expect(wrong).toMatchObject({ code: 64, said: expect.stringMatching(/--allow: .*FETCH/) });
});

test("--mcp-server says where a server is, and refuses what is no URL", async () => {
  expect((await run("--mcp-server", "tracker=https://Tracker.internal/mcp")).code).toBe(3);
  const text = await readFile(draft, "utf8");
  expect(text).toContain("servers:\n  tracker: https://tracker.internal/mcp\n");
  expect(await run("--mcp-server", "tracker=ftp://x")).toMatchObject({
    code: 64,
    said: expect.stringContaining("--mcp-server: tracker=ftp://x is not such as https://"),
  });
});

test("--mcp-lists is all or leased", async () => {
  expect(await run("--mcp-lists", "some")).toMatchObject({
    code: 64,
    said: expect.stringContaining("--mcp-lists: some is neither all nor leased"),
  });
});

test("--allow adds to it, and holds from then on", async () => {
  expect((await run("--allow", "grpc a.v1.B/Get at h.example:443")).code).toBe(3);
  expect((await run("--allow", "grpc a.v1.B/List at h.example:443")).code).toBe(3);
  // What is allowed already is not written again.
  expect((await run("--allow", "grpc a.v1.B/Get at h.example:443")).code).toBe(3);
  const text = await readFile(draft, "utf8");
  expect(text.match(/grpc: .*/g)).toEqual(["grpc: a.v1.B/Get", "grpc: a.v1.B/List"]);
  const { out } = await terminal.dragons("grant", "list", "-o", "json");
  const grants = JSON.parse(out) as { scopes: { name: string }[] }[];
  expect(grants.at(-1)?.scopes.map((s) => s.name)).toEqual(["read:b", "read:h"]);
});

test("--allow puts nothing among what the draft merely listens to, and keeps that it does", async () => {
  await writeFile(draft, `${await readFile(draft, "utf8")}listens: [read:b]\n`);
  for (const method of ["Get", "Search", "Search"]) {
    expect((await run("--allow", `grpc a.v1.B/${method} at h.example:443`)).code).toBe(3);
  }
  const { capabilities, listens } = parseManifestYaml(await readFile(draft, "utf8"));
  const paths = capabilities.map(({ name, rules }) => [name, ...rules.map(({ path }) => path)]);
  expect(paths).toContainEqual(["read:b", "/a.v1.B/Get", "/a.v1.B/List"]);
  expect(paths).toContainEqual(["use:b", "/a.v1.B/Search"]);
  expect(listens).toEqual(["read:b"]);
});
