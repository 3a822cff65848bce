import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ACCESS, accessOf } from "../../src/control/access.ts";
import { ConfigError } from "../../src/control/config.ts";
import { openIdentity } from "../../src/control/identity.ts";
import { signToken } from "../../src/domain/token.ts";
import { KeyService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { Health } from "../../src/gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "../../src/gen/grpc/reflection/v1/reflection_pb.ts";
import { nameOf, SERVICES } from "./rpcs.ts";
import { type House, makeHouse, refusalOf, startWorld, type World } from "./world.ts";

let world: World;
let house: House;

beforeAll(async () => {
  world = await startWorld();
  house = await makeHouse(world, "acme");
});
afterAll(() => world.end());

describe("the table of access", () => {
  test("has a row for every RPC of the contract, and none beside", () => {
    const served = [...SERVICES, Health, ServerReflection];
    const all = served.flatMap((s) => s.methods.map(nameOf));
    expect(Object.keys(ACCESS).sort()).toEqual(all.sort());
  });

  test("an RPC without a row cannot be served", () => {
    expect(() => accessOf(KeyService, "Forgotten")).toThrow(/no row/);
  });

  test("everything of the contract is served", () => {
    const names = world.running.services.map((s) => s.typeName);
    expect(names.sort()).toEqual(SERVICES.map((s) => s.typeName).sort());
  });
});

test("a key of the keyset that is no login key logs nobody in", async () => {
  const iat = Math.floor(world.clock.nowUs() / 1_000_000);
  const token = await signToken(
    {
      iss: "alice",
      sub: "alice",
      aud: world.running.ready.audience,
      tenant: "acme",
      iat,
      exp: iat + 60,
      jti: "j",
    },
    house.grantKey,
  );
  const options = { metadata: { authorization: `Bearer ${token}` } };
  expect(await refusalOf(world.client(KeyService).getKeyset({}, options))).toMatchObject({
    code: "UNAUTHENTICATED",
  });
});

describe("a control plane's own files", () => {
  test("its secrets are its owner's alone, and stay what they were", async () => {
    const { data, bootstrapTokenFile, controlCa } = world.running.ready;
    const secrets = [
      bootstrapTokenFile,
      `${data}.keys/ca.key`,
      `${data}.keys/sidecar-ca.key`,
      `${data}.keys/tenants/acme/issuer.seed`,
      `${data}.keys/tenants/acme/cosigner.seed`,
      `${data}.keys/tenants/acme/control-ledger.seed`,
    ];
    for (const file of secrets) expect((await stat(file)).mode & 0o777, file).toBe(0o600);
    const before = [await readFile(bootstrapTokenFile), await readFile(controlCa)];
    const { audience } = world.running.ready;
    await world.restart();
    expect([await readFile(bootstrapTokenFile), await readFile(controlCa)]).toEqual(before);
    expect(world.running.ready.audience).toBe(audience);
  });

  test("a file that was tampered with, or laid open, is named and not used", async () => {
    const { data, bootstrapTokenFile } = world.running.ready;
    await chmod(bootstrapTokenFile, 0o644);
    const nowUs = world.clock.nowUs();
    await expect(openIdentity(data, nowUs)).rejects.toThrow(/bootstrap.token.*chmod 600/);
    await chmod(bootstrapTokenFile, 0o600);
    const kept = await readFile(bootstrapTokenFile);
    await writeFile(bootstrapTokenFile, "short\n");
    await expect(openIdentity(data, nowUs)).rejects.toThrow(ConfigError);
    await writeFile(bootstrapTokenFile, kept);
    await openIdentity(data, nowUs);
  });
});
