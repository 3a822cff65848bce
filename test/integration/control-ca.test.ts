import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import tls from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { nameControlCas } from "../../src/cli/actions/key.ts";
import { byRoot, readKeyset } from "../../src/cli/actions/operator.ts";
import { KEYSET } from "../../src/domain/keyset.ts";
import { encodeSigned, signBody } from "../../src/domain/signing.ts";
import { fileSigner, generateSeed, seedSigner } from "../../src/native/keys.ts";
import {
  authoritiesIn,
  type CertificateAuthority,
  createCa,
  issueServer,
  loadCa,
} from "../../src/native/pki.ts";
import { ask } from "./calls.ts";
import { type RunningSidecar, type Said, TENANT, World } from "./rig.ts";

/**
 * The authority of the control plane's certificate is exchanged for good. Nothing that sidecars are
 * started with changes: each step rests on the one before, as it does for those who do it.
 */

let world: World;
let sidecar: RunningSidecar;
/** Docked, and away for all of it. */
let away: string[];
/** The one in use at first, stolen by whoever plays the control plane in the end. */
let old: CertificateAuthority;
let data: string;

beforeAll(async () => {
  world = await World.open();
  data = join(world.folder, "control");
  old = loadCa(await pem(), await readFile(`${data}.keys/ca.key`, "utf8"));
  away = await world.flags("away");
  const early = await world.sidecar(away);
  await early.log.until("lease");
  await early.stop();
  sidecar = await world.sidecar(await world.flags("one"));
  await sidecar.log.until("lease");
});
afterAll(() => world.close());

const pem = () => readFile(join(data, "ca.pem"), "utf8");

/** `dragons control ca …` on this world's data. */
async function ca(...words: string[]): Promise<{ code: number; said: string }> {
  const [verb = "", ...more] = words;
  const process = world.dragons("control", "ca", verb, "--data", data, ...more);
  return { code: await process.exited, said: process.said };
}

/** What `dragons key rotate control-ca` does. */
async function nameAuthorities(): Promise<void> {
  const root = await fileSigner(join(world.folder, "keys", "root.key"));
  const cas = authoritiesIn(await pem());
  await nameControlCas(world.operator, byRoot(world.operator, root), cas);
}

/** Listens where the control plane did, with a certificate of this authority. Hears callers, if they speak. */
async function impostor(by: CertificateAuthority) {
  const port = Number(world.control.ready.control.split(":").at(-1));
  const times = { nowUs: Date.now() * 1000, ttlUs: 3_600_000_000 };
  const { certPem, keyPem } = await issueServer(by, ["localhost", "127.0.0.1"], times);
  const left = Promise.withResolvers<void>();
  const heard: Buffer[] = [];
  const server = tls.createServer({ cert: certPem, key: keyPem, ALPNProtocols: ["h2"] });
  // Whether its refusal comes before TLS is done or at once after is the caller's library's affair.
  server.on("tlsClientError", () => left.resolve());
  server.on("secureConnection", (socket) => {
    socket.on("data", (data) => heard.push(data));
    socket.on("error", () => left.resolve());
    socket.on("close", () => left.resolve());
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    /** A caller came, and went. */
    left: left.promise,
    heard,
    close: () => new Promise<void>((resolve) => void server.close(() => resolve())),
  };
}

test("is not switched before there is a next one that every tenant's keyset names", async () => {
  await world.stopControl();
  expect(await ca("switch")).toMatchObject({ code: 78, said: expect.stringContaining("ca next") });
  await world.startControl();
  expect(await ca("next")).toMatchObject({ code: 0 });
  expect(authoritiesIn(await pem())).toHaveLength(2);
  // Said again it makes no third.
  const made = await pem();
  expect(await ca("next")).toMatchObject({ code: 0 });
  expect(await pem()).toBe(made);
  expect(await ca("switch")).toMatchObject({ code: 75 });
  await world.stopControl();
  const early = await ca("switch");
  expect(early).toMatchObject({ code: 78, said: expect.stringContaining(`of ${TENANT} do not`) });
  expect(await pem()).toBe(made);
  await world.startControl();
});

test("is exchanged: an attached sidecar goes on, and attaches to the new one without being touched", async () => {
  await nameAuthorities();
  await sidecar.log.until("keyset", { where: (f) => f.version === 2 });
  // The one in hand may be from before the control plane was away above.
  await sidecar.log.until("lease", { from: sidecar.log.now });
  const from = sidecar.log.now;
  await world.stopControl();
  expect(await ca("switch")).toMatchObject({ code: 0 });
  expect(await ask(sidecar.agent, "while it is away")).toMatchObject({ code: 0 });
  await world.startControl();
  await sidecar.log.until("attached", { from });
  await sidecar.log.until("lease", { from });
  expect(await ask(sidecar.agent, "under the new one")).toMatchObject({ code: 0 });
});

test("an operator who still pins the old one is told so, and what to do", async () => {
  const { control, bootstrapTokenFile } = world.control.ready;
  const stale = join(world.folder, "stale.pem");
  await writeFile(stale, old.certPem);
  const flags = ["--control", control, "--control-ca", stale, "--bootstrap", bootstrapTokenFile];
  // In a process of its own: a client of grpc-js that is closed while it waits to try again tries again
  // once, and would greet the thief below.
  const list = world.dragons("tenant", "list", ...flags);
  expect(await list.exited).toBe(69);
  expect(list.said).toMatch(/--control-ca.*ca\.pem/);
});

test("the old one is let go of: its thief is not believed, nor is anybody whom no keyset names", async () => {
  let from = sidecar.log.now;
  await nameAuthorities();
  await sidecar.log.until("detached", { from, where: (f) => `${f.why}`.includes("given up") });
  await sidecar.log.until("attached", { from });
  const nobody = await createCa("Dragons control plane", {
    nowUs: Date.now() * 1000,
    ttlUs: 3_600_000_000,
  });
  await world.stopControl();
  for (const by of [old, nobody]) {
    const thief = await impostor(by);
    await thief.left;
    expect(Buffer.concat(thief.heard)).toHaveLength(0);
    await thief.close();
  }
  from = sidecar.log.now;
  await world.startControl();
  await sidecar.log.until("attached", { from });
});

test("a sidecar that was away for all of it attaches once it is given the keyset, and from then on", async () => {
  const rootKey = world.rootKey;
  const { body, signed } = await readKeyset(world.operator, rootKey);
  const file = join(world.folder, "exported.keyset");

  const late = await world.sidecar(away);
  const { facts } = await late.log.until("not attached");
  expect(facts.why).toContain("--keyset");
  await late.stop();

  const forged = { ...body, keysetVersion: 9 };
  const thief = await signBody(KEYSET, forged, [seedSigner(generateSeed())]);
  await writeFile(file, encodeSigned(thief));
  await expect(world.sidecar([...away, "--keyset", file])).rejects.toThrow(/--keyset.*E_KEY_UNKN/);

  await writeFile(file, encodeSigned(signed));
  const told = await world.sidecar([...away, "--keyset", file]);
  await told.log.until("attached");
  await told.stop();
  const again = await world.sidecar(away);
  await again.log.until("attached");
  await again.stop();
});

test("a stolen key is given up at once, whoever has not named the next: each sidecar is given the keyset", async () => {
  expect(await ca("next", "--force")).toMatchObject({ code: 64 });
  expect(await ca("next")).toMatchObject({ code: 0 });
  await world.stopControl();
  expect(await ca("switch")).toMatchObject({ code: 78 });
  expect(await ca("switch", "--anyway")).toMatchObject({ code: 0 });
  const from = sidecar.log.now;
  await world.startControl();
  const wanting = (f: Said["facts"]) => `${f.why}`.includes("--keyset");
  await sidecar.log.until("not attached", { from, where: wanting });
  await nameAuthorities();
  const { signed } = await readKeyset(world.operator, world.rootKey);
  const file = join(world.folder, "after.keyset");
  await writeFile(file, encodeSigned(signed));
  const healed = await world.sidecar([...away, "--keyset", file]);
  await healed.log.until("attached");
});
