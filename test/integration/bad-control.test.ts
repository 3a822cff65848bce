import { chmod, cp, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { readConfig } from "../../src/control/config.ts";
import { runControl } from "../../src/control/main.ts";
import { systemClock } from "../../src/native/clock.ts";
import { World } from "./rig.ts";

/**
 * Every file that a control plane reads, spoilt: it does not start half. It says in one line which
 * file or flag it is; once that is mended, everything is as it was.
 */

let world: World;
let copy: string;
let copies = 0;
let flags: string[];

beforeAll(async () => {
  world = await World.open();
  const sidecar = await world.sidecar(await world.flags("one"));
  await sidecar.log.until("lease");
  await sidecar.stop();
  await world.stopControl();
});
afterAll(() => world.close());

beforeEach(async () => {
  copy = join(world.folder, `control${++copies}`);
  await cp(join(world.folder, "control"), copy, { recursive: true });
  await cp(join(world.folder, "control.keys"), `${copy}.keys`, { recursive: true });
  flags = ["--data", copy, "--listen", "127.0.0.1:0"];
});

const at = (file: string): string =>
  file.startsWith("keys/") ? join(`${copy}.${file}`) : join(copy, file);
const garbage = (file: string) => () => writeFile(at(file), "\u0001 not what it was ".repeat(500));
const empty = (file: string) => () => writeFile(at(file), "");
const gone = (file: string) => () => rm(at(file));
const lax = (file: string) => () => chmod(at(file), 0o644);
const open = (folder: string) => () => chmod(at(folder), 0o750);
const given = (flag: string, value: () => string) => async () => {
  flags.push(flag, value());
};
const SEED = "keys/tenants/acme/issuer.seed";

const SPOILT: [string, () => Promise<unknown>, RegExp][] = [
  ["its id, garbage", garbage("id"), /\/id/],
  ["its id, empty", empty("id"), /\/id/],
  ["its authority, garbage", garbage("ca.pem"), /ca\.pem/],
  ["its authority's key, garbage", garbage("keys/ca.key"), /ca\.key/],
  ["its authority's key, gone", gone("keys/ca.key"), /ca\.key.*backup/],
  ["its authority's key, readable by others", lax("keys/ca.key"), /ca\.key.*chmod 600/],
  ["the owner's token, garbage", garbage("keys/bootstrap.token"), /bootstrap\.token/],
  [
    "the owner's token, readable by others",
    lax("keys/bootstrap.token"),
    /bootstrap\.token.*chmod 600/,
  ],
  ["its sidecars' authority, garbage", garbage("sidecar-ca.pem"), /sidecar-ca\.pem/],
  ["its sidecars' authority's key, gone", gone("keys/sidecar-ca.key"), /sidecar-ca\.key.*backup/],
  [
    "its sidecars' authority's key, readable by others",
    lax("keys/sidecar-ca.key"),
    /sidecar-ca\.key.*chmod 600/,
  ],
  ["its data folder, open to others", open("."), /control\d+ is open .*mode 0750.*chmod 700/],
  ["its store, open to others", open("store"), /store is open .*chmod 700/],
  ["its keys folder, open to others", open("keys/."), /\.keys is open .*chmod 700/],
  ["its tenants' keys, open to others", open("keys/tenants"), /tenants is open .*chmod 700/],
  ["an issuer's key, garbage", garbage(SEED), /issuer\.seed/],
  ["an issuer's key, gone", gone(SEED), /issuer\.seed/],
  ["an issuer's key, readable by others", lax(SEED), /issuer\.seed.*chmod 600/],
  ["the store, garbage", garbage("store/data.mdb"), /store.*data\.mdb/],
  ["a data folder that is a file", given("--data", () => at("id")), /--data/],
  ["a ready file nowhere", given("--ready-file", () => join(copy, "no", "ready")), /--ready-file/],
  [
    "an address of nobody",
    given("--listen", () => "192.0.2.1:7443"),
    /--listen: 192\.0\.2\.1:7443/,
  ],
];

describe("a control plane refuses, in one line", () => {
  test.each(SPOILT)("%s", async (_name, spoil, says) => {
    await spoil();
    const error = await refusal();
    expect(error.name).toMatch(/^(ConfigError|KeyError|StorageFailed|TenantFailed)$/);
    expect(error.message).toMatch(says);
    expect(error.message).not.toContain("\n");
  });

  test("a port that is taken; and it has let go of everything", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    const error = await refusal("--listen", `127.0.0.1:${port}`);
    expect(error).toMatchObject({
      name: "ConfigError",
      message: expect.stringContaining(`--listen: 127.0.0.1:${port}`),
    });
    server.close();
    const control = await runControl(readConfig(flags), { clock: systemClock });
    await control.close();
  });

  test("secrets lie beside the data, in folders for their owner alone", async () => {
    expect(await readdir(copy)).not.toContain("ca.key");
    expect(await readdir(`${copy}.keys`)).toContain("ca.key");
  });
});

async function refusal(...more: string[]): Promise<Error> {
  try {
    const control = await runControl(readConfig([...flags, ...more]), { clock: systemClock });
    await control.close();
  } catch (error) {
    return error as Error;
  }
  throw new Error("it started");
}
