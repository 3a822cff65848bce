import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type RunningControl, runControl } from "../../src/control/main.ts";
import { systemClock } from "../../src/native/clock.ts";
import { lacks } from "../skips.ts";
import { Terminal } from "./terminal.ts";

/** `dragons learn`: what an agent did under a grant that observes becomes the manifest that allows it. */

const LAUNCHER = join(import.meta.dirname, "../../bin/dragons");
const server = createServer((_, answer) => answer.end("ok\n"));

let terminal: Terminal;
let control: RunningControl;
let site: string;

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
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  site = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await terminal.dragons("tenant", "create", "acme", "--ready", "ready.json", "--operator", "al");
  await writeFile(
    "agent.mjs",
    `for (const [method, url] of JSON.parse(process.env.DEEDS)) {
       const answer = await fetch(url, { method });
       console.log(method, url, answer.status);
     }\n`,
  );
});
afterAll(async () => {
  server.close();
  await control.close();
  await terminal.close();
});

/** Lets the agent do this, by proxy variables. */
async function dragons(words: string[], deeds: [string, string][]) {
  const agent = ["--", process.execPath, "--use-env-proxy", "agent.mjs"];
  const env = { ...process.env, DEEDS: JSON.stringify(deeds) };
  const child = spawn(process.execPath, [LAUNCHER, ...words, ...agent], { env, stdio: "pipe" });
  child.stdin.end();
  const said = { out: "", err: "" };
  child.stdout.on("data", (chunk: Buffer) => {
    said.out += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    said.err += chunk.toString();
  });
  const [code] = (await once(child, "close")) as [number];
  return { code, ...said };
}
const LEARN = ["learn", "--contain", "off", "--yes"];
const RUN = ["run", "--contain", "off", "--yes"];

test("an agent without a manifest gets the least that allows what it did, and runs by it", async () => {
  const deeds: [string, string][] = [
    ["GET", `${site}/orders/41`],
    ["GET", `${site}/orders/42`],
    ["POST", `${site}/orders`],
    ["GET", "http://127.0.0.2:8099/admin"],
  ];
  const named = ["--allow", `http HEAD ${site}/`];
  const learnt = await dragons([...LEARN, ...named], deeds);
  expect(learnt.code, learnt.err).toBe(0);
  expect(learnt.out).toContain(`GET ${site}/orders/41 200`);
  expect(learnt.out).toContain("GET http://127.0.0.2:8099/admin 403");
  expect(learnt.err).toMatch(/allows what was done in 3 actions/);
  expect(learnt.err).toMatch(/capability +added +write:127/);
  expect(learnt.err).toContain(`+ http GET ${site}/orders/*`);
  expect(learnt.err).toContain(`− http HEAD ${site}/`);

  const text = await readFile("dragon.yaml", "utf8");
  expect(text.slice(text.indexOf("capabilities:"))).toBe(`capabilities:
  read:127:
    # seen 2 times, by 2 paths: * stands for what differed, or for an id
    - http: GET ${site}/orders/*
  write:127:
    # seen 1 time
    - http: POST ${site}/orders

# Allowed before, and not done in this run:
#   read:127: http HEAD ${site}/

# Not carried out in this run all the same, and not allowed:
#   1 time http GET http://127.0.0.2:8099/admin: TARGET_FORBIDDEN
`);

  const more: [string, string][] = [...deeds.slice(0, 3), ["DELETE", `${site}/orders/41`]];
  const ran = await dragons(RUN, more);
  expect(ran.code, ran.err).toBe(0);
  expect(
    ran.out
      .trim()
      .split("\n")
      .map((l) => l.split(" ").at(-1)),
  ).toEqual(["200", "200", "200", "403"]);
});

test("what people wrote is not written over: their rules stay, and what was not done is told", async () => {
  const written = `name: agent
version: v3
code: [agent.mjs]
capabilities:
  read:orders:
    - http: GET ${site}/orders/*
    - http: GET ${site}/lists
  read:news:
    - http: GET ${site}/news
listens: [read:news, read:orders]
`;
  await writeFile("dragon.yaml", written);
  const deeds: [string, string][] = [
    ["GET", `${site}/orders/7`],
    ["GET", `${site}/users/7`],
  ];
  const learnt = await dragons(LEARN, deeds);
  expect(learnt.code, learnt.err).toBe(0);
  expect(await readFile("dragon.yaml", "utf8")).toBe(written);
  const text = await readFile("dragon.learnt.yaml", "utf8");
  expect(text).toContain("version: v3\n");
  expect(text).toContain(`    # as it was written; seen 1 time\n    - http: GET ${site}/orders/*`);
  expect(text).toContain(`    # seen 1 time, by 1 path: * stands for`);
  expect(text).toContain(`#   read:orders: http GET ${site}/lists\n`);
  expect(text).toContain("\nlistens:\n  - read:orders\n");
  expect(text).toContain("# Merely listened to before, and not done in this run:\n#   read:news\n");
  expect(learnt.err).toMatch(/listens +removed +read:news/);
});

test.skipIf(lacks("cage"))("a sealed agent is learnt from the same way", async () => {
  await writeFile(
    "dragon.yaml",
    `name: agent
version: v4
code: [agent.mjs]
capabilities:
  read:orders:
    - http: GET ${site}/orders/*
`,
  );
  const deeds: [string, string][] = [
    ["GET", `${site}/orders/7`],
    ["PUT", `${site}/users/7`],
  ];
  const learnt = await dragons(["learn", "--yes", "--out", "sealed.yaml"], deeds);
  expect(learnt.code, learnt.err).toBe(0);
  expect(learnt.out).toContain(`PUT ${site}/users/7 200`);
  expect(await readFile("sealed.yaml", "utf8")).toContain(`    - http: PUT ${site}/users/*\n`);
});

test("the grant that lets everything pass observes, is short, and ends with the run", async () => {
  const { out } = await terminal.dragons("grant", "list", "-o", "json");
  const grants = JSON.parse(out) as {
    purpose: string;
    revokedEpoch: number;
    notAfterUs: number;
    notBeforeUs: number;
    observeUntilUs: number;
  }[];
  const learning = grants.filter((g) => g.purpose === "dragons learn agent");
  expect(learning).toHaveLength(lacks("cage") ? 2 : 3);
  for (const grant of learning) {
    expect(grant.revokedEpoch).toBeGreaterThan(0);
    expect(grant.observeUntilUs).toBe(grant.notAfterUs);
    expect(grant.notAfterUs - grant.notBeforeUs).toBeLessThanOrEqual(2 * 3_600_000_000);
  }
});

test("nothing is let pass that nobody was asked about", async () => {
  const refused = await dragons(["learn", "--contain", "off"], []);
  expect(refused).toMatchObject({ code: 77, err: expect.stringContaining("--yes") });
});
