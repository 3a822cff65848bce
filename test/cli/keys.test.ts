import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeNextCa } from "../../src/control/identity.ts";
import { fromHex, toHex } from "../../src/domain/bytes.ts";
import { isInvalid } from "../../src/domain/invalid.ts";
import { controlLedgerKey, type KeysetBody, verifyKeyset } from "../../src/domain/keyset.ts";
import type { SignedBytes } from "../../src/domain/signed.ts";
import { decodeSigned } from "../../src/domain/signing.ts";
import { native } from "../../src/native/crypto.ts";
import { fileSigner, generateSeed, seedSigner } from "../../src/native/keys.ts";
import { authoritiesIn } from "../../src/native/pki.ts";
import { startWorld, type World } from "../control/world.ts";
import { Terminal } from "./terminal.ts";

/** The life of every kind of key, from the command line: what docs/keys.md tells to type. */

let terminal: Terminal;
let world: World;

beforeAll(async () => {
  terminal = await Terminal.open();
  world = await startWorld();
  world.clock.setWall(Date.now() * 1000);
  const { ready } = world.running;
  await done(
    "tenant",
    "create",
    "acme",
    `--control=${ready.control}`,
    `--control-ca=${ready.controlCa}`,
    `--audience=${ready.audience}`,
    `--bootstrap=${ready.bootstrapTokenFile}`,
  );
  await writeFile("agent.py", "print('hello')\n");
  await writeFile(
    "dragon.yaml",
    [
      "name: reconciler",
      "version: v7",
      "code: [agent.py]",
      "config: []",
      "runtime: python3",
      "capabilities:",
      "  read:payments:",
      "    - grpc: payments.v1.Payments/{Get,List}*",
      "      at: payments.internal:443",
      "",
    ].join("\n"),
  );
  await done("manifest", "record", "dragon.yaml");
});
afterAll(async () => {
  await world.end();
  await terminal.close();
});

/** What a command printed as JSON. Of most of it the texts are looked at. */
async function json(...argv: string[]): Promise<Record<string, string>> {
  return JSON.parse(await done(...argv, "-o", "json"));
}
async function done(...argv: string[]): Promise<string> {
  const { code, out, err } = await terminal.dragons(...argv);
  expect(code, `dragons ${argv.join(" ")}: ${err}`).toBe(0);
  return out;
}
async function refused(...argv: string[]): Promise<string> {
  const { code, err } = await terminal.dragons(...argv);
  expect(code, `dragons ${argv.join(" ")}`).not.toBe(0);
  return err;
}

function openKeyset(signed: SignedBytes, rootKey: string) {
  const keyset = verifyKeyset(native, signed, fromHex(rootKey), 1);
  if (isInvalid(keyset)) throw new Error(keyset.detail);
  return keyset;
}

interface Key {
  readonly key: string;
  readonly role: string;
  readonly holder: string;
  readonly notAfterUs: number;
  readonly compromisedFromUs: number;
}
const keysOf = async (role: string): Promise<Key[]> =>
  ((await json("operator", "list")) as unknown as Key[]).filter((k) => k.role === role);

const GRANT = [
  "grant",
  "create",
  "--manifest=dragon.yaml",
  "--scope=read:payments",
  "--unlimited",
  "--purpose=reconcile",
];

describe("the authority of the control plane's certificate", () => {
  const rotate = ["key", "rotate", "control-ca"];

  test("is named as --control-ca holds it: both before the switch, and again only after one", async () => {
    await makeNextCa(world.running.ready.data, Date.now() * 1000);
    const authorities = authoritiesIn(await readFile(world.running.ready.controlCa, "utf8"));
    const prints = authorities.map((der) => toHex(native.sha256(der)));
    const named = JSON.parse(await done(...rotate, "-o", "json"));
    expect(named.authorities).toEqual(prints);
    expect(prints).toHaveLength(2);
    expect(await refused(...rotate)).toContain("dragons control ca next");
  });

  test("is shown in words to whoever signs a keyset that names it", async () => {
    await done("operator", "keygen", "w.key");
    await done("key", "witness", "w.key", "--holder=auditor", "--propose=cas.json");
    const words = await done("proposal", "show", "cas.json");
    expect(words.match(/control plane's authority [0-9a-f]{64}/g)).toHaveLength(2);
  });

  test("that is none is not put into a keyset", async () => {
    await writeFile("leaf.pem", "no certificate");
    expect(await refused(...rotate, "--control-ca=leaf.pem")).toContain("--control-ca: ");
  });

  test("reaches who was away as a file: the keyset in force, as the root signed it", async () => {
    const { keysetVersion } = JSON.parse(await done("key", "export", "my.keyset", "-o", "json"));
    const signed = decodeSigned(new Uint8Array(await readFile("my.keyset")));
    if (isInvalid(signed)) throw new Error(signed.detail);
    const { rootKey } = await json("trust", "show");
    const { body } = openKeyset(signed, `${rootKey}`);
    expect(body).toMatchObject({ tenantId: "acme", keysetVersion });
    expect(body.controlCas).toHaveLength(2);
  });
});

describe("two of two operators", () => {
  const BOB = ["--grant-key=bob.key"];

  beforeAll(async () => {
    await done("operator", "keygen", "bob.key");
    await done("operator", "add", "bob", "--grant=bob.key");
    await done("key", "threshold", "2");
  });
  afterAll(() => done("key", "threshold", "1"));

  test("one alone grants nothing, and is told how two do", async () => {
    const err = await refused(...GRANT);
    expect(err).toContain("1 of 2 OPERATOR_GRANT keys have signed");
    expect(err).toContain("--propose FILE");
    await done(...GRANT, "--cosign=bob.key");
  });

  test("a grant: proposed by one, shown in words, signed by the other, recorded", async () => {
    const { grantId } = await json(...GRANT, "--propose=g.json");
    expect(await refused("grant", "show", `${grantId}`)).toContain("no such grant");
    expect(await refused("proposal", "record", "g.json")).toContain("1 of 2");
    const words = await json("proposal", "show", "g.json");
    expect(words).toMatchObject({
      what: "grant",
      tenant: "acme",
      "scope read:payments":
        "max_actions unlimited, max_bytes unlimited, rate_per_minute unlimited, max_concurrent unlimited",
      purpose: "reconcile",
      observes: "no",
    });
    expect(await refused("proposal", "sign", "g.json")).toContain("has signed it");
    const { err } = await terminal.dragons("proposal", "sign", "g.json", ...BOB);
    // Whoever signs is shown what, whatever the output is made for.
    expect(err).toContain("purpose: reconcile");
    await done("proposal", "record", "g.json");
    const grant = await json("grant", "show", `${grantId}`);
    expect(grant.signedBy).toHaveLength(2);
  });

  test("a dock and a revocation go the same way", async () => {
    const { grantId } = await json(...GRANT, "--cosign=bob.key");
    await done("dock", "create", `--grant=${grantId}`, "--propose=d.json");
    await done("proposal", "sign", "d.json", ...BOB);
    await done("proposal", "record", "d.json");
    expect(await done("dock", "list", "-o", "name")).toContain("dck_");

    const order = ["grant", "revoke", `${grantId}`, "--reason=over"];
    await done(...order, "--propose=r.json");
    await done("proposal", "sign", "r.json", ...BOB);
    await done("proposal", "record", "r.json");
    expect(Number((await json("grant", "show", `${grantId}`)).revokedEpoch)).toBeGreaterThan(0);
    // What was recorded once is not revived, nor done twice, by the same file.
    expect(await refused("proposal", "record", "r.json")).toContain("the next is");
  });

  test("what was changed after the first signature is signed and recorded by nobody", async () => {
    await done(...GRANT, "--propose=bent.json");
    const file = JSON.parse(await readFile("bent.json", "utf8"));
    const bent = {
      ...file,
      body: file.body.replace(/(.)$/, (c: string) => (c === "0" ? "1" : "0")),
    };
    await writeFile("bent.json", JSON.stringify(bent));
    expect(await refused("proposal", "sign", "bent.json", ...BOB)).toMatch(/does not verify|bent/);
    await writeFile("bent.json", "{}");
    expect(await refused("proposal", "show", "bent.json")).toContain(
      "no file that --propose wrote",
    );
  });
});

test("a keyset is proposed where the root is not, signed where it is, and recorded", async () => {
  await done("operator", "keygen", "eve.key");
  const propose = ["--propose=k.json", "--root-key=nowhere.key"];
  await done("operator", "add", "eve", "--login=eve.key", "--role=viewer", ...propose);
  expect((await json("proposal", "show", "k.json"))["signed by"]).toBe("nobody yet");
  expect(await refused("proposal", "record", "k.json")).toContain("not signed");
  // An operator's key is no root.
  expect(await refused("proposal", "sign", "k.json")).toContain("has a role already");
  await done("proposal", "sign", "k.json", "--key=.dragons/keys/root.key");
  await done("proposal", "record", "k.json");
  expect((await keysOf("OPERATOR_LOGIN")).map((k) => k.holder)).toContain("eve");
});

describe("keys are exchanged", () => {
  test.each(["issuer", "cosigner", "control-ledger"])(
    "%s: the control plane makes the next, the root names it",
    async (role) => {
      const inKeyset = role.toUpperCase().replace("-", "_");
      const [old] = await keysOf(inKeyset);
      const { from, to } = await json("key", "rotate", role, "--overlap=1h");
      expect(from).toBe(old?.key);
      const tenant = world.running.tenants.get("acme");
      const speaking =
        role === "control-ledger"
          ? controlLedgerKey(tenant?.keyset().body as KeysetBody)
          : (role === "issuer" ? tenant?.issuerSigner : tenant?.cosignerSigner)?.publicKey;
      expect(toHex(speaking ?? new Uint8Array(0))).toBe(to);
      const all = await keysOf(inKeyset);
      const before = all.find((k) => k.key === from);
      expect(before?.notAfterUs).toBeLessThan(old?.notAfterUs ?? 0);
    },
  );

  test("issuer, compromised: in one keyset with its successor", async () => {
    const { from } = await json("key", "rotate", "issuer", "--compromised=2h");
    const gone = (await keysOf("ISSUER")).find((k) => k.key === from);
    expect(gone?.compromisedFromUs).toBeGreaterThan(0);
  });

  test("an operator's: same holder, same role, and the old one signs nobody in after the overlap", async () => {
    await done("operator", "keygen", "login-2.key");
    const [admin] = (await keysOf("OPERATOR_LOGIN")).filter((k) => k.holder === "admin");
    const old = admin?.key ?? "";
    expect(await refused("key", "rotate", old)).toContain("--to");
    await done("key", "rotate", old.slice(0, 12), "--to=login-2.key", "--overlap=1ms");
    world.clock.setWall(Date.now() * 1000 + 2_000);
    expect(await refused("grant", "list")).toContain("not a login key");
    await done("grant", "list", "--login-key=login-2.key");
  });

  const AS = ["--login-key=login-2.key"];

  test("a witness is added; any key expires, is compromised, or is revoked", async () => {
    await done("operator", "keygen", "witness.key");
    await done("key", "witness", "witness.key", "--holder=auditor", ...AS);
    const listed = async (role: string) =>
      (JSON.parse(await done("operator", "list", "-o", "json", ...AS)) as Key[]).filter(
        (k) => k.role === role,
      );
    const [witness] = await listed("WITNESS");
    await done("key", "expire", `${witness?.key}`, ...AS);
    expect((await listed("WITNESS"))[0]?.notAfterUs).toBeLessThan(witness?.notAfterUs ?? 0);

    const bob = toHex((await fileSigner("bob.key")).publicKey);
    await done("key", "compromised", bob, "--from=1h", ...AS);
    const gone = await refused(...GRANT, "--grant-key=bob.key", ...AS);
    expect(gone).toContain("E_KEY_COMPROMISED");

    const eve = toHex((await fileSigner("eve.key")).publicKey);
    const asEve = ["--operator=eve", "--login-key=eve.key"];
    await done("grant", "list", ...asEve);
    await done("key", "revoke", eve, "--reason=lost", ...AS);
    expect(await refused("grant", "list", ...asEve)).toContain("not a login key");
    expect(await refused("key", "expire", "00000000", ...AS)).toContain("dragons operator list");
  });

  test("the tenant root: both sign, trust files adopt the new one, and the old one is nobody", async () => {
    await done("operator", "keygen", "root-2.key");
    const { rootKey, handover } = await json("key", "rotate", "root", "--to=root-2.key", ...AS);
    // The handover itself holds by either root; what follows it, by the new one alone.
    await done("operator", "list", ...AS);
    expect(await refused("key", "threshold", "1", ...AS)).toContain("than the tenant root");
    await done("key", "threshold", "1", "--root-key=root-2.key", ...AS);
    expect(await refused("operator", "list", ...AS)).toContain("dragons trust adopt");
    await done("trust", "adopt", `${handover}`);
    expect((await json("trust", "show")).rootKey).toBe(rootKey);
    await done("operator", "list", ...AS);
    expect(await refused("trust", "adopt", "g.json")).toContain("handover");
  });

  test("a whole tenant is stopped, and resumed", async () => {
    await done("tenant", "stop", "--reason=drill", ...AS);
    expect(world.running.tenants.get("acme")?.stoppedEpoch()).toBeGreaterThan(0);
    await done("tenant", "resume", "--reason=over", ...AS);
    expect(world.running.tenants.get("acme")?.stoppedEpoch()).toBe(0);
  });
});

test("root, grant and login key may each sit behind a command", async () => {
  const kms = async (name: string) => {
    const seed = generateSeed();
    const file = join(terminal.folder, `${name}.cjs`);
    await writeFile(
      file,
      `const { createPrivateKey, sign } = require("node:crypto");
       const der = Buffer.from("302e020100300506032b657004220420${toHex(seed.reveal())}", "hex");
       const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
       process.stdout.write(sign(null, require("node:fs").readFileSync(0), key));`,
    );
    return `exec:${toHex(seedSigner(seed).publicKey)} ${process.execPath} ${file}`;
  };
  const [root, grant, login] = [await kms("root"), await kms("grant"), await kms("login")];
  const AS = ["--login-key=login-2.key"];
  await done(
    "key",
    "rotate",
    "root",
    `--to=${root}`,
    "--root-key=root-2.key",
    "--statement=h2.json",
    ...AS,
  );
  await done("trust", "adopt", "h2.json");
  const added = [`--grant=${grant}`, `--login=${login}`, "--role=operator"];
  await done("operator", "add", "kim", ...added, `--root-key=${root}`, ...AS);
  const kim = ["--operator=kim", `--login-key=${login}`, `--grant-key=${grant}`];
  await done(...GRANT, ...kim);
  const broken = grant.replace("grant.cjs", "absent.cjs");
  expect(
    await refused(...GRANT, "--operator=kim", `--login-key=${login}`, `--grant-key=${broken}`),
  ).toMatch(/signer .*node.* failed \(exit 1\)/);
});
