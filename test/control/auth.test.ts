import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ACCESS, accessOf } from "../../src/control/access.ts";
import { ConfigError } from "../../src/control/config.ts";
import { openIdentity } from "../../src/control/identity.ts";
import { LOGIN_ROLES } from "../../src/domain/keyset.ts";
import { signToken } from "../../src/domain/token.ts";
import { file_dragons_v1_authority, KeyService } from "../../src/gen/dragons/v1/authority_pb.ts";
import { file_dragons_v1_dock } from "../../src/gen/dragons/v1/dock_pb.ts";
import { file_dragons_v1_ledger } from "../../src/gen/dragons/v1/ledger_pb.ts";
import { file_dragons_v1_organism } from "../../src/gen/dragons/v1/organism_pb.ts";
import { file_dragons_v1_tether } from "../../src/gen/dragons/v1/tether_pb.ts";
import { Health } from "../../src/gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "../../src/gen/grpc/reflection/v1/reflection_pb.ts";
import type { CallOptions } from "../../src/wire/rpc.ts";
import { StatusError } from "../../src/wire/status.ts";
import { type House, makeHouse, type Role, refusalOf, startWorld, type World } from "./world.ts";

const FILES = [
  file_dragons_v1_authority,
  file_dragons_v1_dock,
  file_dragons_v1_ledger,
  file_dragons_v1_organism,
  file_dragons_v1_tether,
];
/** Every service of the contract that a control plane serves. */
const SERVICES: readonly DescService[] = FILES.flatMap((f) => f.services);
const METHODS = SERVICES.flatMap((s) => s.methods);
const nameOf = (m: DescMethod): string => `${m.parent.typeName}/${m.name}`;
const access = (m: DescMethod) => accessOf(m.parent, m.name);
const ROLES: Role[] = ["VIEWER", "OPERATOR", "ADMIN"];

let world: World;
let house: House;
let neighbour: House;

beforeAll(async () => {
  world = await startWorld();
  house = await makeHouse(world, "acme");
  neighbour = await makeHouse(world, "neighbour");
});
afterAll(() => world.end());

/** Calls an RPC with an empty request. Null: it was answered, or nothing was said for a while. */
async function call(method: DescMethod, options: CallOptions): Promise<StatusError | null> {
  type Any = Record<string, (request: unknown, o: CallOptions) => unknown>;
  const client = world.client(method.parent) as unknown as Any;
  const streams =
    method.methodKind === "bidi_streaming" || method.methodKind === "client_streaming";
  // A watch may have nothing to say: that it was let in shows soon enough.
  const timeoutUs = method.methodKind === "unary" ? 5_000_000 : 300_000;
  const bounded = { ...options, timeoutUs };
  try {
    const answer = client[method.localName]?.(streams ? nothing() : {}, bounded);
    if (answer instanceof Promise) await answer;
    else for await (const _ of answer as AsyncIterable<unknown>) break;
    return null;
  } catch (error) {
    if (error instanceof StatusError && error.code !== "DEADLINE_EXCEEDED") return error;
    if (error instanceof StatusError) return null;
    throw error;
  }
}

async function* nothing() {
  // A stream that ends before it says anything.
}

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

const needsCredential = METHODS.filter((m) => !["OPEN", "PROOF", "SIDECAR"].includes(access(m)));

describe.each(needsCredential.map((m) => [nameOf(m), m] as const))("%s", (_, method) => {
  const needed = access(method);

  test("lets nobody in without a credential that holds", async () => {
    const iat = Math.floor(world.clock.nowUs() / 1_000_000);
    const admin = await house.as("ADMIN");
    const good = String(admin.metadata?.authorization);
    const bad: [string, CallOptions][] = [
      ["none", {}],
      ["empty", { metadata: { authorization: "" } }],
      ["no scheme", { metadata: { authorization: good.replace("Bearer ", "") } }],
      ["another scheme", { metadata: { authorization: good.replace("Bearer", "Basic") } }],
      ["garbage", { metadata: { authorization: "Bearer a.b.c" } }],
      ["unsigned", { metadata: { authorization: good.replace(/[^.]+$/, "") } }],
      ["two in one", { metadata: { authorization: `${good}, ${good}` } }],
      ["expired", await house.as("ADMIN", { iat: iat - 600, exp: iat })],
      ["not yet valid", await house.as("ADMIN", { iat: iat + 100, exp: iat + 200 })],
      ["for too long", await house.as("ADMIN", { exp: iat + 601 })],
      ["for another control plane", await house.as("ADMIN", { aud: `dcp_${"0".repeat(32)}` })],
      ["of a key that the tenant does not know", await neighbour.as("ADMIN", { tenant: "acme" })],
      ["for a tenant that is not", await house.as("ADMIN", { tenant: "nobody" })],
      ["in another's name", await house.as("ADMIN", { sub: "alice" })],
      // The owner is no operator, and no operator is the owner.
      ["of the other kind", needed === "BOOTSTRAP" ? admin : world.owner],
    ];
    for (const [what, options] of bad) {
      expect(await call(method, options), what).toMatchObject({
        code: "UNAUTHENTICATED",
        reason: "CREDENTIAL_INVALID",
      });
    }
  });

  test("lets in whom the table says, and nobody below", async () => {
    if (needed === "BOOTSTRAP") {
      expect((await call(method, world.owner))?.code).not.toBe("UNAUTHENTICATED");
      return;
    }
    for (const role of ROLES) {
      const refused = await call(method, await house.as(role));
      if (LOGIN_ROLES.indexOf(role) < LOGIN_ROLES.indexOf(needed as Role)) {
        expect(refused, role).toMatchObject({
          code: "PERMISSION_DENIED",
          reason: "ROLE_INSUFFICIENT",
        });
      } else {
        expect(["UNAUTHENTICATED", "UNIMPLEMENTED"], role).not.toContain(refused?.code);
        expect(refused?.reason, role).not.toBe("ROLE_INSUFFICIENT");
      }
    }
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
