import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { listGrants } from "../../src/cli/actions/grant.ts";
import { listKeys } from "../../src/cli/actions/operator.ts";
import { writeTrust } from "../../src/cli/actions/trust.ts";
import { runCommand } from "../../src/cli/main.ts";
import { toHex } from "../../src/domain/bytes.ts";
import { ask, openChat } from "./calls.ts";
import { OPERATOR, type RunningSidecar, TENANT, World } from "./rig.ts";

/** What an operator types, and what the agent feels: an open stream is cut, and nothing else begins. */

let world: World;
let flags: string[];
let sidecar: RunningSidecar;

beforeEach(async () => {
  world = await World.open({ leaseTtlUs: 4_000_000 });
  flags = await world.flags("one");
  sidecar = await world.sidecar(flags);
  await sidecar.log.until("lease");
});
afterEach(() => world.close());

/** `dragons` with these words, for the tenant's operator. */
async function dragons(...words: string[]): Promise<void> {
  const key = (name: string) => join(world.folder, "keys", `${name}.key`);
  const trust = join(world.folder, "trust.json");
  await writeTrust(trust, { tenant: TENANT, rootKey: world.rootKey });
  const { control, controlCa, audience } = world.control.ready;
  const settings: Record<string, string> = {
    DRAGONS_CONTROL: control,
    DRAGONS_CONTROL_CA: controlCa,
    DRAGONS_AUDIENCE: audience,
    DRAGONS_TENANT: TENANT,
    DRAGONS_OPERATOR: OPERATOR,
    DRAGONS_LOGIN_KEY: key("login"),
    DRAGONS_GRANT_KEY: key("grant"),
    DRAGONS_ROOT_KEY: key("root"),
    DRAGONS_TRUST: trust,
    DRAGONS_PROFILE: join(world.folder, "profile.json"),
  };
  for (const [name, value] of Object.entries(settings)) vi.stubEnv(name, value);
  let said = "";
  const hear = (chunk: string | Uint8Array): boolean => {
    said += String(chunk);
    return true;
  };
  const heard = [
    vi.spyOn(process.stdout, "write").mockImplementation(hear),
    vi.spyOn(process.stderr, "write").mockImplementation(hear),
  ];
  const code = await runCommand(words).finally(() => {
    for (const spy of heard) spy.mockRestore();
    vi.unstubAllEnvs();
  });
  expect(code, `dragons ${words.join(" ")}: ${said}`).toBe(0);
}

const grantId = async () => (await listGrants(world.operator))[0]?.grantId ?? "";
const keyOf = async (role: string) =>
  (await listKeys(world.operator, world.rootKey)).keys.find((k) => k.role === role)?.key ?? "";

const allowed = async (): Promise<void> =>
  expect(await ask(sidecar.agent, "hello")).toMatchObject({ code: 0 });

/** Each as it is typed, and what the agent is told. */
const orders: [string, () => Promise<string[]>, string][] = [
  ["a lease", async () => ["lease", "revoke", sidecar.ready.instanceId], "LEASE_REVOKED"],
  ["a grant", async () => ["grant", "revoke", await grantId()], "LEASE_REVOKED"],
  [
    "an operator's key",
    async () => ["key", "revoke", await keyOf("OPERATOR_GRANT")],
    "LEASE_REVOKED",
  ],
  [
    "a manifest",
    async () => ["manifest", "retire", toHex(world.measured.hash)],
    "MANIFEST_RETIRED",
  ],
  ["an instance", async () => ["organism", "revoke", sidecar.ready.instanceId], "LEASE_REVOKED"],
  ["a whole tenant", async () => ["tenant", "stop"], "LEASE_REVOKED"],
];

describe("to take back", () => {
  test.each(orders)(
    "%s: its stream is cut, its calls are denied, and no restart of either side revives it",
    async (_, words, reason) => {
      await allowed();
      const chat = await openChat(sidecar.agent);
      await dragons(...(await words()), "--reason=a drill");
      expect(await chat.ended).toMatchObject({ code: 7, reason });
      expect(await ask(sidecar.agent, "hello")).toMatchObject({ code: 7, reason });

      const from = sidecar.log.now;
      await world.stopControl();
      await world.startControl();
      await sidecar.log.until("no lease", { from, where: (f) => f.reason === reason });
      expect(await ask(sidecar.agent, "hello")).toMatchObject({ code: 7, reason });

      await sidecar.stop();
      sidecar = await world.sidecar(flags);
      await sidecar.log.until("no lease", { where: (f) => f.reason === reason });
      expect(await ask(sidecar.agent, "hello")).toMatchObject({ code: 7 });
    },
  );

  test("a key, by the root: what it signed is dead at once", async () => {
    const chat = await openChat(sidecar.agent);
    await dragons("key", "compromised", await keyOf("OPERATOR_GRANT"), "--from=1h");
    expect(await chat.ended).toMatchObject({ code: 7, reason: "LEASE_REVOKED" });
    await sidecar.log.until("lease lost");
    expect(await ask(sidecar.agent, "hello")).toMatchObject({ code: 7 });
  });
});

test("a tenant that is resumed works again, without anybody being restarted", async () => {
  const chat = await openChat(sidecar.agent);
  await dragons("tenant", "stop", "--reason=a drill");
  expect((await chat.ended).code).toBe(7);
  const from = sidecar.log.now;
  await dragons("tenant", "resume", "--reason=it was a drill");
  await sidecar.log.until("lease", { from });
  await allowed();
});

test("an issuer key is given up and exchanged: streams are cut, the next lease is a beat away", async () => {
  const chat = await openChat(sidecar.agent);
  const from = sidecar.log.now;
  await dragons("key", "rotate", "issuer", "--compromised=1h");
  expect((await chat.ended).code).toBe(7);
  await sidecar.log.until("lease", { from });
  await allowed();
});

test("an issuer key is exchanged in peace, and the root after it: no stream notices", async () => {
  const chat = await openChat(sidecar.agent);
  let cut = false;
  void chat.ended.then(() => {
    cut = true;
  });
  await dragons("key", "rotate", "issuer");
  await dragons("key", "rotate", "cosigner");
  const next = join(world.folder, "keys", "root-2.key");
  await dragons("operator", "keygen", next);
  const statement = join(world.folder, "handover.json");
  await dragons("key", "rotate", "root", `--to=${next}`, `--statement=${statement}`);
  const from = sidecar.log.now;
  await dragons("key", "threshold", "1", `--root-key=${next}`);
  await sidecar.log.until("lease", { from });
  await allowed();
  expect(cut).toBe(false);
  expect(sidecar.log.said.map((s) => s.event)).not.toContain("rejected");
  // And a sidecar that starts on what it has kept pins the new root.
  await sidecar.stop();
  sidecar = await world.sidecar(flags);
  await sidecar.log.until("lease");
  await allowed();
});

test("what concerns another instance is not told here", async () => {
  const other = await world.sidecar(await world.flags("two"));
  await other.log.until("lease");
  await dragons("lease", "revoke", other.ready.instanceId, "--reason=a drill");
  await other.log.until("revocation");
  const from = sidecar.log.now;
  await sidecar.log.until("lease", { from });
  expect(sidecar.log.said.map((s) => s.event)).not.toContain("revocation");
  await allowed();
});
