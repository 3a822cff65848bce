import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Access } from "../../src/control/access.ts";
import { formatSidecarName } from "../../src/domain/enrolment.ts";
import {
  type CertificateAuthority,
  createCa,
  ed25519Spki,
  generateTlsKey,
  issueLeaf,
  loadCa,
} from "../../src/native/pki.ts";
import type { CallOptions } from "../../src/wire/rpc.ts";
import { StatusError } from "../../src/wire/status.ts";
import { accessTo, answersTo, METHODS, nameOf } from "./rpcs.ts";
import { makeBerth, SimSidecar } from "./sidecar.ts";
import { type Door, type House, makeHouse, startWorld, type World } from "./world.ts";

/**
 * Every RPC of the contract × every credential that does not fit it: none, expired, of another
 * audience, of another tenant, of too low a role, of the other kind. Each is refused, for the one
 * reason that fits; and each that fits is let in, so that a refusal is never a refusal of everybody.
 */
interface Caller {
  /** The rows of the table of access that let it in. */
  readonly fits: readonly Access[];
  /** Those in which it is known, and has too low a role. */
  readonly tooLow?: readonly Access[];
  readonly door?: () => Door;
  readonly options: () => Promise<CallOptions>;
}

const HOUR_US = 3_600_000_000;
/** Whoever calls these proves nothing by the connection or a header. */
const ANYBODY: readonly Access[] = ["OPEN", "PROOF"];

let world: World;
let house: House;
let neighbour: House;
let sidecar: SimSidecar;
const doors = new Map<string, Door>();

beforeAll(async () => {
  world = await startWorld();
  house = await makeHouse(world, "acme");
  neighbour = await makeHouse(world, "neighbour");
  sidecar = await SimSidecar.dock(world, house, await makeBerth(world, house));
  doors.set("own", await sidecar.certified());
  const { data } = world.running.ready;
  const read = (file: string) => readFile(file, "utf8");
  const ca = loadCa(
    await read(`${data}/sidecar-ca.pem`),
    await read(`${data}.keys/sidecar-ca.key`),
  );
  const nowUs = Date.now() * 1000;
  const past = { nowUs: nowUs - 2 * HOUR_US, ttlUs: HOUR_US };
  const now = { nowUs, ttlUs: HOUR_US };
  doors.set("expired", await doorBy(ca, past));
  doors.set("foreign", await doorBy(await createCa("Dragons sidecars", now), now));
});
afterAll(() => world.end());

async function doorBy(
  ca: CertificateAuthority,
  when: { nowUs: number; ttlUs: number },
): Promise<Door> {
  const { instanceId, ledgerId } = sidecar;
  const uris = [formatSidecarName({ tenantId: "acme", instanceId, ledgerId })];
  const subject = { commonName: "x", hosts: [], uris, usages: ["client"] as const };
  const { publicKey, keyPem } = generateTlsKey();
  const { certPem } = issueLeaf(ca, subject, ed25519Spki(publicKey), when);
  return world.door({ certPem, keyPem });
}

const door = (name: string) => () => doors.get(name) as Door;
const header = (text: string) => async () => ({ metadata: { authorization: text } });
/** The ADMIN's token, spoilt. */
const spoilt = (spoil: (header: string) => string) => async () => {
  const good = await house.as("ADMIN");
  return { metadata: { authorization: spoil(String(good.metadata?.authorization)) } };
};
const iat = () => Math.floor(world.clock.nowUs() / 1_000_000);
const no = { fits: ANYBODY };

const CALLERS: Record<string, Caller> = {
  nobody: { ...no, options: async () => ({}) },
  "an empty header": { ...no, options: header("") },
  garbage: { ...no, options: header("Bearer a.b.c") },
  "a token without its scheme": { ...no, options: spoilt((h) => h.replace("Bearer ", "")) },
  "a token of another scheme": { ...no, options: spoilt((h) => h.replace("Bearer", "Basic")) },
  "a token without its signature": { ...no, options: spoilt((h) => h.replace(/[^.]+$/, "")) },
  "two tokens in one": { ...no, options: spoilt((h) => `${h}, ${h}`) },
  "an expired token": { ...no, options: () => house.as("ADMIN", { iat: iat() - 600, exp: iat() }) },
  "a token of tomorrow": {
    ...no,
    options: () => house.as("ADMIN", { iat: iat() + 100, exp: iat() + 200 }),
  },
  "a token for too long": { ...no, options: () => house.as("ADMIN", { exp: iat() + 601 }) },
  "a token for another audience": {
    ...no,
    options: () => house.as("ADMIN", { aud: `dcp_${"0".repeat(32)}` }),
  },
  "a token of another tenant's key": {
    ...no,
    options: () => neighbour.as("ADMIN", { tenant: "acme" }),
  },
  "a token for no tenant": { ...no, options: () => house.as("ADMIN", { tenant: "nobody" }) },
  "a token in another's name": { ...no, options: () => house.as("ADMIN", { sub: "alice" }) },
  "an expired certificate": { ...no, door: door("expired"), options: async () => ({}) },
  "a certificate of another authority": { ...no, door: door("foreign"), options: async () => ({}) },
  "a certificate and an operator's token": {
    ...no,
    door: door("own"),
    options: () => house.as("ADMIN"),
  },
  "a certificate and the owner's token": {
    ...no,
    door: door("own"),
    options: async () => world.owner,
  },
  "the owner": { fits: [...ANYBODY, "BOOTSTRAP"], options: async () => world.owner },
  "a sidecar": { fits: [...ANYBODY, "SIDECAR"], door: door("own"), options: async () => ({}) },
  "a viewer": {
    fits: [...ANYBODY, "VIEWER"],
    tooLow: ["OPERATOR", "ADMIN"],
    options: () => house.as("VIEWER"),
  },
  "an operator": {
    fits: [...ANYBODY, "VIEWER", "OPERATOR"],
    tooLow: ["ADMIN"],
    options: () => house.as("OPERATOR"),
  },
  "an admin": {
    fits: [...ANYBODY, "VIEWER", "OPERATOR", "ADMIN"],
    options: () => house.as("ADMIN"),
  },
};

/** LET IN: past the door, whatever is then thought of an empty request. */
async function outcome(method: (typeof METHODS)[number], caller: Caller): Promise<string> {
  const through = caller.door?.() ?? world;
  const answer = await answersTo(through, method, {}, await caller.options(), 1);
  if (!(answer instanceof StatusError)) return "LET IN";
  const refused = ["CREDENTIAL_INVALID", "ROLE_INSUFFICIENT"].includes(answer.reason);
  if (!refused && answer.code !== "UNIMPLEMENTED" && answer.code !== "INTERNAL") return "LET IN";
  return `${answer.code} ${answer.reason}`;
}

function expected(method: (typeof METHODS)[number], { fits, tooLow = [] }: Caller): string {
  const access = accessTo(method);
  if (fits.includes(access)) return "LET IN";
  return tooLow.includes(access)
    ? "PERMISSION_DENIED ROLE_INSUFFICIENT"
    : "UNAUTHENTICATED CREDENTIAL_INVALID";
}

describe.each(METHODS.map((m) => [nameOf(m), m] as const))("%s", (_, method) => {
  test("lets in whom the table of access says, and refuses everybody else", async () => {
    const found: Record<string, string> = {};
    const wanted: Record<string, string> = {};
    for (const [name, caller] of Object.entries(CALLERS)) {
      found[name] = await outcome(method, caller);
      wanted[name] = expected(method, caller);
    }
    expect(found).toEqual(wanted);
  });
});

test("every row of the table is fitted by somebody, so that no refusal above is a refusal of all", () => {
  const fitted = new Set(Object.values(CALLERS).flatMap((c) => c.fits));
  expect(METHODS.map(accessTo).filter((a) => !fitted.has(a))).toEqual([]);
});

test("an RPC that carries its own proof answers nothing to whoever sends none", async () => {
  const proving = METHODS.filter((m) => accessTo(m) === "PROOF");
  expect(proving.length).toBeGreaterThan(1);
  for (const method of proving) {
    for (const caller of Object.values(CALLERS)) {
      const through = caller.door?.() ?? world;
      const answer = await answersTo(through, method, {}, await caller.options());
      expect(answer, nameOf(method)).toMatchObject({ code: "INVALID_ARGUMENT" });
    }
  }
});
