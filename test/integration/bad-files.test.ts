import { createHash } from "node:crypto";
import { chmod, cp, mkdir, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { toBase64Url } from "../../src/domain/bytes.ts";
import { formatJoinToken, type JoinToken, parseJoinToken } from "../../src/domain/join-token.ts";
import { ask } from "./calls.ts";
import { World } from "./rig.ts";

/**
 * Every file that a sidecar reads, spoilt: it refuses to start with one line that names the file or
 * the flag and what to do, and has changed nothing.
 */

let world: World;
let docked: string[];
let flags: string[];
let copy: string;
let copies = 0;

beforeAll(async () => {
  world = await World.open();
  docked = await world.flags("one");
  const sidecar = await world.sidecar(docked);
  await sidecar.log.until("lease");
  expect(await ask(sidecar.agent, "hello")).toMatchObject({ code: 0 });
  await sidecar.stop();
});
afterAll(() => world.close());

beforeEach(async () => {
  const one = join(world.folder, "one");
  copy = join(world.folder, `copy${++copies}`);
  await cp(one, copy, { recursive: true });
  await cp(`${one}.keys`, `${copy}.keys`, { recursive: true });
  flags = docked.map((f) => (f.startsWith(one) ? f.replace(one, copy) : f));
});

/** `file` of the copy, or of its keys when it begins with `keys/`. */
const at = (file: string): string =>
  file.startsWith("keys/") ? `${copy}.${file}` : join(copy, file);

const GARBAGE = Buffer.from("\u0000\u0001 not what it was \u00ff".repeat(40), "latin1");
const garbage = (file: string) => () => writeFile(at(file), GARBAGE);
const empty = (file: string) => () => writeFile(at(file), "");
const half = (file: string) => async () =>
  truncate(at(file), Math.floor((await readFile(at(file))).length / 2));
const flipped = (file: string) => async () => {
  const bytes = await readFile(at(file));
  bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
  await writeFile(at(file), bytes);
};
const lax = (file: string) => () => chmod(at(file), 0o644);
const given = (flag: string, value: () => string) => async () => {
  flags.push(flag, value());
};
const files = (name: string, ...ways: [string, (file: string) => () => Promise<void>][]) =>
  ways.map(([how, spoil]): [string, () => Promise<unknown>, RegExp] => [
    `${name}, ${how}`,
    spoil(name),
    new RegExp((name.split("/").at(-1) as string).replace(".", "\\.")),
  ]);
const ARTIFACTS = ["genesis", "keyset", "grant", "dock"];

const SPOILT: [string, () => Promise<unknown>, RegExp][] = [
  ["the ledger's key, readable by others", lax("keys/ledger.key"), /ledger\.key.*chmod 600/],
  ...files("keys/ledger.key", ["garbage", garbage], ["empty", empty]),
  [
    "the ledger's key, another's",
    () => writeFile(at("keys/ledger.key"), `${"1f".repeat(32)}\n`),
    /ledger\.key is not the key of this instance/,
  ],
  ...files("keys/agent-ca.key", ["garbage", garbage], ["empty", empty]),
  ["the agent's authority's key, readable by others", lax("keys/agent-ca.key"), /chmod 600/],
  ...files("keys/agent-ca.pem", ["garbage", garbage], ["half", half]),
  ...files("authority/pin", ["garbage", garbage], ["empty", empty], ["half", half]),
  ...ARTIFACTS.flatMap((name) =>
    files(`authority/${name}`, ["garbage", garbage], ["empty", empty], ["half", half]),
  ),
  ...ARTIFACTS.map((name): [string, () => Promise<unknown>, RegExp] => [
    `authority/${name}, one bit`,
    flipped(`authority/${name}`),
    new RegExp(`${name}`),
  ]),
  ...files("authority/manifest", ["garbage", garbage], ["empty", empty], ["half", half]),
  ["a revocation, garbage", garbage("authority/revocation.1"), /revocation\.1/],
  ...files("leases", ["garbage", garbage]),
  ...files("latch", ["garbage", garbage]),
  [
    "the leases, a length that cannot be",
    async () => {
      const bytes = await readFile(at("leases"));
      bytes.writeUInt32BE(0x7fffffff, 0);
      await writeFile(at("leases"), bytes);
    },
    /leases/,
  ],
  ["the data folder, open to others", () => chmod(copy, 0o755), /--data: .*chmod 700/],
  ["the keys folder, open to others", () => chmod(`${copy}.keys`, 0o750), /--keys: .*chmod 700/],
  ["the ledger, garbage", garbage("ledger/data.mdb"), /ledger/],
  ["no manifest", given("--manifest", () => join(copy, "none.yaml")), /--manifest: .*none\.yaml/],
  [
    "a credential that is not there",
    given("--credential", () => join(copy, "none")),
    /--credential: .*none/,
  ],
  ["a credential that is none", given("--credential", () => at("leases")), /--credential/],
  [
    "an upstream CA that is not there",
    given("--upstream-ca", () => join(copy, "none")),
    /--upstream-ca: .*none/,
  ],
  ["an upstream CA that is none", given("--upstream-ca", () => at("leases")), /--upstream-ca/],
  [
    "a ready file nowhere",
    given("--ready-file", () => join(copy, "no", "ready")),
    /--ready-file: .*copy\d+\/no/,
  ],
  ["a data folder that is a file", given("--data", () => at("leases")), /--data/],
  [
    "a path too long for a socket",
    async () => {
      const long = `${copy}${"x".repeat(100)}`;
      await cp(copy, long, { recursive: true });
      await cp(`${copy}.keys`, `${long}.keys`, { recursive: true });
      flags.push("--data", long, "--keys", `${long}.keys`);
    },
    /--data: .*shorter/,
  ],
  ["a goal without end", given("--goal", () => "x".repeat(100_000)), /--goal/],
  ["a goal of several lines", given("--goal", () => "one\ntwo"), /--goal/],
];

describe("a sidecar refuses, in one line, and changes nothing", () => {
  test.each(SPOILT)("%s", async (_name, spoil, says) => {
    await spoil();
    const before = await contents();
    const error = await refusal();
    expect(error.name).toMatch(/^(UsageError|ConfigError|KeyError|LedgerBroken|StorageFailed)$/);
    expect(error.message).toMatch(says);
    expect(error.message).not.toContain("\n");
    expect(await contents()).toEqual(before);
  });

  test("a proxy port that is taken, or nowhere", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    flags.push("--proxy", `127.0.0.1:${port}`);
    expect((await refusal()).message).toMatch(/--proxy.*EADDRINUSE/);
    server.close();
    flags.push("--proxy", "192.0.2.1:7071");
    expect(await refusal()).toMatchObject({
      name: "ConfigError",
      message: expect.stringMatching(/--proxy.*EADDRNOTAVAIL/),
    });
    // The refusal let go of everything: the same folder starts once the port is another.
    await start([...flags, "--proxy", "127.0.0.1:0"]);
  });
});

test("a ledger that was cut in half is refused in one line, and not by a signal", async () => {
  await half("ledger/data.mdb")();
  const error = await refusal();
  expect(error.name).toBe("StorageFailed");
  expect(error.message).toMatch(/ledger\/data\.mdb is damaged: .*$/);
});

test("a lease that a crash cut short is cut off, and those before it are kept", async () => {
  const whole = await readFile(at("leases"));
  await writeFile(at("leases"), Buffer.concat([whole, whole.subarray(0, 40)]));
  await start(flags);
  expect((await readFile(at("leases"))).subarray(0, whole.length)).toEqual(whole);
});

describe("a join token that is none", () => {
  const bent = (change: Partial<JoinToken>) => (text: string) =>
    formatJoinToken({ ...(parseJoinToken(text) as JoinToken), ...change });
  const none = new Uint8Array(0);
  const TOKENS: [string, (text: string) => string, RegExp][] = [
    ["empty", () => "", /--token: .*dgj_/],
    ["garbage", () => GARBAGE.toString("latin1"), /--token: .*dgj_/],
    ["no base64url", () => "dgj_%%%", /--token: .*base64url/],
    ["half", (t) => t.slice(0, t.length / 2), /--token/],
    [
      "a field of it alone",
      () => `dgj_${toBase64Url(new Uint8Array([8, 1]))}`,
      /--token: .*tenantId/,
    ],
    ["another version", bent({ version: 2 }), /--token: .*version 2/],
    ["without a key", bent({ joinSeed: none }), /--token: .*joinSeed/],
    ["without a root", bent({ rootKey: none }), /--token: .*rootKey/],
    ["without a dock", bent({ dockRef: none }), /--token: .*dockRef/],
    ["without a manifest", bent({ manifestHash: none }), /--token: .*manifestHash/],
    ["no address", bent({ controlAddress: "somewhere" }), /--token: .*controlAddress/],
    ["no certificate", bent({ controlCa: "none" }), /--token: .*controlCa/],
    ["of another dock", bent({ dockRef: new Uint8Array(32).fill(7) }), /docking was refused/],
    ["of another manifest", bent({ manifestHash: new Uint8Array(32).fill(7) }), /another identity/],
    ["of a keyset to come", bent({ keysetVersion: 2 }), /keyset 1, and its join token .* 2:/],
    ["of another root", bent({ rootKey: new Uint8Array(32).fill(7) }), /chain of authority/],
  ];
  test.each(TOKENS)("%s", async (_name, spoil, says) => {
    const fresh = await world.flags(`fresh${++copies}`);
    const file = fresh[fresh.indexOf("--token") + 1] as string;
    const text = (await readFile(file, "utf8")).trim();
    await writeFile(file, spoil(text));
    flags = fresh;
    const error = await refusal();
    expect([error.name, error.message]).toEqual(["ConfigError", expect.stringMatching(says)]);
    expect(error.message).not.toContain("\n");
    expect(error.message).not.toContain(text.slice(4, 60));
    // What was refused left nothing behind: the right token still founds the instance.
    await writeFile(file, text);
    await start(fresh);
  });
});

describe("an agent's manifest that is none", () => {
  const MANIFESTS: [string, string, RegExp][] = [
    ["empty", "", /manifest/],
    ["no YAML", "name: [unclosed", /line 1|yaml|YAML/],
    ["another shape", "- 1\n- 2\n", /manifest/],
    ["an unknown field", "name: a\nversion: v1\ncolour: red\n", /colour/],
    ["too large", `# ${"x".repeat(300_000)}`, /262144|256|large|bytes/],
  ];
  test.each(MANIFESTS)("%s", async (_name, text, says) => {
    const folder = join(copy, "agent");
    await mkdir(folder);
    await writeFile(join(folder, "dragon.yaml"), text);
    flags.push("--manifest", join(folder, "dragon.yaml"));
    const error = await refusal();
    expect([error.name, error.message]).toEqual([
      "ConfigError",
      expect.stringMatching(/--manifest/),
    ]);
    expect(error.message).toMatch(says);
    expect(error.message).not.toContain("\n");
  });
});

/** Starts a sidecar that must come up, and ends it. */
async function start(words: readonly string[]): Promise<void> {
  await (await world.sidecar(words)).stop();
}

async function refusal(): Promise<Error> {
  try {
    await start(flags);
  } catch (error) {
    return error as Error;
  }
  throw new Error("it started");
}

/** Every file with a digest of what it holds; locks and who holds them come and go. */
async function contents(): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const folder of [copy, `${copy}.keys`]) {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    for (const entry of entries) {
      if (!entry.isFile() || /^(lock|holder|lock\.mdb)$/.test(entry.name)) continue;
      const path = join(entry.parentPath, entry.name);
      found[path] = createHash("sha256")
        .update(await readFile(path))
        .digest("hex");
    }
  }
  return found;
}

test.each([
  ["sidecar", ["--data", "x"], 64, /^dragons: --manifest is missing\n$/],
  ["sidecar", ["--no-such"], 64, /^dragons: [^\n]*--no-such[^\n]*\n$/],
  ["control", ["--listen", "nowhere"], 64, /^dragons control: --data: [^\n]*\n$/],
  ["control", ["--data", "/dev/null"], 78, /^dragons control: --data: [^\n]*\n$/],
] as const)("dragons %s %j ends with %i and one line", async (name, words, exit, says) => {
  const process = world.dragons(name, ...words);
  expect(await process.exited).toBe(exit);
  expect(process.said).toMatch(says);
});

test("as a process, a refused sidecar has let go of everything and ends", async () => {
  flags.push("--proxy", "192.0.2.1:7071");
  const process = world.dragons("sidecar", ...flags);
  expect(await process.exited).toBe(78);
  expect(process.said.trim().split("\n").at(-1)).toMatch(/^dragons: --proxy.*EADDRNOTAVAIL/);
});
