import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RunningControl, runControl } from "../../src/control/main.ts";
import { toHex } from "../../src/domain/bytes.ts";
import { parseJoinToken } from "../../src/domain/join-token.ts";
import { systemClock } from "../../src/native/clock.ts";
import { fileSigner } from "../../src/native/keys.ts";
import { Terminal } from "./terminal.ts";

/** From an empty folder to a sidecar's join token, as an operator types it. */

/** A signer as somebody else might write it: PAE bytes in, 64 raw bytes out. */
const KMS = `import { createPrivateKey, sign } from "node:crypto";
import { readFileSync } from "node:fs";
const seed = Buffer.from(readFileSync(process.argv[2], "utf8").trim(), "hex");
const prefix = Buffer.from("302e020100300506032b657004220420", "hex");
const key = createPrivateKey({ key: Buffer.concat([prefix, seed]), format: "der", type: "pkcs8" });
process.stdout.write(sign(null, readFileSync(0), key));
`;

let terminal: Terminal;
let control: RunningControl;

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
  await mkdir("agent");
  await writeFile("agent/agent.py", "print('hello')\n");
  await writeFile(
    "agent/dragon.yaml",
    `name: reconciler
version: v7
code: [agent.py]
capabilities:
  read:payments:
    - grpc: payments.v1.Payments/{Get,List}*
      at: payments.internal:443
`,
  );
});

afterAll(async () => {
  await control.close();
  await terminal.close();
});

const idOf = async (noun: string): Promise<string> =>
  (await terminal.dragons(noun, "list", "-o", "name")).out.trim().split("\n").at(-1) as string;

describe("an operator's first hour", () => {
  test("before there is a profile, each command says what it lacks and how to give it", async () => {
    expect(
      await terminal.transcript("grant list", "tenant list", "why rcp_1", "trust show"),
    ).toMatchInlineSnapshot(`
      "
      $ dragons grant list
      dragons: tenant is not set: give --tenant, set DRAGONS_TENANT, or write it into ~/.dragons/profile.json
      [exit 78]
      $ dragons tenant list
      dragons: bootstrap is not set: give --bootstrap, set DRAGONS_BOOTSTRAP, or write it into ~/.dragons/profile.json
      [exit 78]
      $ dragons why rcp_1
      dragons: sidecar is not set: give --sidecar, set DRAGONS_SIDECAR, or write it into ~/.dragons/profile.json
      [exit 78]
      $ dragons trust show
      dragons: trust is not set: give --trust, set DRAGONS_TRUST, or write it into ~/.dragons/profile.json
      [exit 78]
      "
    `);
  });

  test("founding a tenant leaves keys, a trust file and a profile", async () => {
    expect(
      await terminal.transcript(
        "tenant create acme --ready ready.json --operator alice",
        "tenant create acme --ready ready.json --operator alice",
        "tenant create Acme! --ready ready.json --profile other.json --keys other",
        "tenant list --ready ready.json",
        "trust show",
        "config view --origin --tenant beta",
        "operator list",
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons tenant create acme --ready ready.json --operator alice
      tenant  acme
      keyset  1
      root  <64 hex>
      trust file: ~/.dragons/trust.json
      profile: ~/.dragons/profile.json; keep ~/.dragons/keys/root.key offline once operators are added
      $ dragons tenant create acme --ready ready.json --operator alice
      dragons: tenant acme exists (ALREADY_RECORDED)
      [exit 1]
      $ dragons tenant create Acme! --ready ready.json --profile other.json --keys other
      dragons: tenant_id: must be 1 to 63 of a-z, 0-9 and hyphen, with no hyphen at an end (ARGUMENT_INVALID)
      [exit 64]
      $ dragons tenant list --ready ready.json
      TENANT  KEYSET  ROOT
      acme  1  <64 hex>
      $ dragons trust show
      tenant  acme
      root  <64 hex>
      keyset  version 1 or later
      cosigners  those of the keyset
      witnesses  none asked for
      $ dragons config view --origin --tenant beta
      SETTING  VALUE  ORIGIN
      control  HOST:PORT  profile ~/.dragons/profile.json
      controlCa  ~/control/ca.pem  profile ~/.dragons/profile.json
      audience  dcp_…  profile ~/.dragons/profile.json
      tenant  beta  flag
      operator  alice  profile ~/.dragons/profile.json
      loginKey  ~/.dragons/keys/login.key  profile ~/.dragons/profile.json
      grantKey  ~/.dragons/keys/grant.key  profile ~/.dragons/profile.json
      rootKey  ~/.dragons/keys/root.key  profile ~/.dragons/profile.json
      bootstrap  -  default
      trust  ~/.dragons/trust.json  profile ~/.dragons/profile.json
      sidecar  -  default
      $ dragons operator list
      HOLDER  ROLE  LOGIN  KEY  UNTIL  COMPROMISED
      alice  operator_grant  -  <16 hex>  <time>  -
      alice  operator_login  admin  <16 hex>  <time>  -
      control plane  issuer  -  <16 hex>  <time>  -
      control plane  cosigner  -  <16 hex>  <time>  -
      control plane  control_ledger  -  <16 hex>  <time>  -
      "
    `);
    for (const key of ["root", "grant", "login"]) {
      expect((await stat(`.dragons/keys/${key}.key`)).mode & 0o777).toBe(0o600);
    }
  });

  test("an identity is measured, then recorded", async () => {
    expect(
      await terminal.transcript(
        "manifest record",
        "manifest hash agent",
        "manifest record agent",
        "manifest list",
        "manifest show reconciler@v7",
        "manifest show reconciler@v8",
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons manifest record
      dragons: manifest: ENOENT: no such file or directory, open 'dragon.yaml'; draft one with: dragons manifest init
      [exit 78]
      $ dragons manifest hash agent
      manifest  reconciler@v7
      hash  <64 hex>
      files  1
      scopes  read:payments
      $ dragons manifest record agent
      manifest  reconciler@v7
      hash  <64 hex>
      files  1
      scopes  read:payments
      $ dragons manifest list
      MANIFEST  HASH  FILES  SCOPES  RECORDED  STATE  DOCKED
      reconciler@v7  <16 hex>  1  read:payments  <time>  in force  -
      $ dragons manifest show reconciler@v7
      name: reconciler
      version: v7
      code:
        - agent.py # 15 bytes, sha256 <64 hex>
      config: []
      capabilities:
        read:payments:
          - grpc: payments.v1.Payments/{Get,List}*
            at: payments.internal:443
      $ dragons manifest show reconciler@v8
      dragons: manifest: none is recorded as reconciler@v8; see: dragons manifest list
      [exit 1]
      "
    `);
  });

  test("a grant says its limits, or that there are none", async () => {
    const create = 'grant create --manifest reconciler@v7 --purpose "close the books"';
    expect(
      await terminal.transcript(
        "grant create",
        `${create} --scope read:payments`,
        `${create} --scope read:payments:max_actions=100`,
        `${create} --scope read:payments:actions=1 --unlimited`,
        `${create} --scope read:payments:max_actions=-1 --unlimited`,
        `${create} --scope read:payments:max_bytes=1mb --unlimited`,
        `${create} --scope write:ledger --unlimited`,
        `${create} --scope read:payments --unlimited --ttl 60`,
        `${create} --scope read:payments --unlimited --ttl 48h`,
        `${create} --scope read:payments:max_actions=100,max_bytes=1MB,rate_per_minute=60,max_concurrent=unlimited --ttl 15s --for 8h`,
        "grant list",
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons grant create
      dragons: required option '--manifest <manifest>' not specified
      add --help to see what it takes
      [exit 64]
      $ dragons grant create --manifest reconciler@v7 --purpose "close the books" --scope read:payments
      dragons: --scope read:payments: max_actions is not said; write --scope read:payments:max_actions=N, or --unlimited to set no limit
      [exit 64]
      $ dragons grant create --manifest reconciler@v7 --purpose "close the books" --scope read:payments:max_actions=100
      dragons: --scope read:payments: max_bytes is not said; write --scope read:payments:max_bytes=N, or --unlimited to set no limit
      [exit 64]
      $ dragons grant create --manifest reconciler@v7 --purpose "close the books" --scope read:payments:actions=1 --unlimited
      dragons: --scope read:payments: actions=1 is no limit; known: max_actions, max_bytes, rate_per_minute, max_concurrent
      [exit 64]
      $ dragons grant create --manifest reconciler@v7 --purpose "close the books" --scope read:payments:max_actions=-1 --unlimited
      dragons: --scope read:payments: max_actions: -1 is no whole number from 0
      [exit 64]
      $ dragons grant create --manifest reconciler@v7 --purpose "close the books" --scope read:payments:max_bytes=1mb --unlimited
      dragons: --scope read:payments: max_bytes: 1mb is no amount of bytes; write 4096, 64kB or 1MB
      [exit 64]
      $ dragons grant create --manifest reconciler@v7 --purpose "close the books" --scope write:ledger --unlimited
      dragons: --scope: reconciler@v7 has no capability write:ledger; it has read:payments
      [exit 64]
      $ dragons grant create --manifest reconciler@v7 --purpose "close the books" --scope read:payments --unlimited --ttl 60
      dragons: --ttl: 60 is no length of time; write 60s, 30m or 24h
      [exit 64]
      $ dragons grant create --manifest reconciler@v7 --purpose "close the books" --scope read:payments --unlimited --ttl 48h
      dragons: grant.leaseTtlMaxUs is 172800000000, not from 1000000 to 86400000000
      [exit 64]
      $ dragons grant create --manifest reconciler@v7 --purpose "close the books" --scope read:payments:max_actions=100,max_bytes=1MB,rate_per_minute=60,max_concurrent=unlimited --ttl 15s --for 8h
      grant  grt_…
      manifest  <64 hex>
      scopes  read:payments 100 actions, 1MB, 60 a minute
      from  <time>
      until  <time>
      lease  at most 15s
      instances  1
      measured  files
      purpose  close the books
      signed by  <64 hex>
      state  in force
      next  dragons dock create --grant grt_…
      $ dragons grant list
      GRANT  MANIFEST  SCOPES  UNTIL  STATE  PURPOSE
      grt_…  <16 hex>  read:payments  <time>  in force  close the books
      "
    `);
  });

  test("a draft can do nothing yet, and replaces nothing", async () => {
    expect(
      await terminal.transcript(
        "manifest init --name helper --file draft.yaml python3 agent.py",
        "manifest init --file draft.yaml",
        "manifest hash draft.yaml",
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons manifest init --name helper --file draft.yaml python3 agent.py
      manifest  ~/draft.yaml
      add the scopes that it needs under capabilities, then: dragons manifest record
      $ dragons manifest init --file draft.yaml
      dragons: ~/draft.yaml exists; --force replaces it
      [exit 1]
      $ dragons manifest hash draft.yaml
      manifest  helper@v1
      hash  <64 hex>
      files  1
      scopes  -
      "
    `);
  });

  test("a dock and its token bring a sidecar aboard; the token is in a file that nobody else reads", async () => {
    const grant = await idOf("grant");
    expect(
      await terminal.transcript(
        `dock create --grant ${grant} --ledgers 3 --join-key join.key`,
        `dock create --grant grt_0 --join-key other.key`,
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons dock create --grant grt_… --ledgers 3 --join-key join.key
      dock  dck_…
      grant  grt_…
      join key  ~/join.key
      next  dragons token create --dock dck_… --join-key ~/join.key
      $ dragons dock create --grant grt_0 --join-key other.key
      dragons: no such grant (NO_SUCH_OBJECT)
      [exit 1]
      "
    `);
    const dock = await idOf("dock");
    expect(
      await terminal.transcript(
        `token create --dock ${dock} --join-key join.key --out sidecar.token`,
        `token create --dock ${dock} --join-key join.key --out sidecar.token`,
        `token create --dock ${dock} --join-key nowhere.key`,
        "dock list",
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons token create --dock dck_… --join-key join.key --out sidecar.token
      token  ~/sidecar.token
      dock  dck_…
      next  dragons sidecar --data DIR --manifest dragon.yaml --token ~/sidecar.token
      $ dragons token create --dock dck_… --join-key join.key --out sidecar.token
      dragons: ~/sidecar.token: exists; it is not replaced
      [exit 1]
      $ dragons token create --dock dck_… --join-key nowhere.key
      dragons: key file nowhere.key cannot be read: ENOENT
      [exit 78]
      $ dragons dock list
      DOCK  GRANT  LEDGERS  UNTIL
      dck_…  <16 hex>  0 of 3  <time>
      "
    `);
    expect((await stat("sidecar.token")).mode & 0o777).toBe(0o600);
    const token = parseJoinToken((await readFile("sidecar.token", "utf8")).trim());
    expect(token).toMatchObject({ tenantId: "acme", controlAddress: control.ready.control });
  });

  test("a second operator is added by the root, and may only do what their role allows", async () => {
    expect(
      await terminal.transcript(
        "operator keygen bob.key",
        "operator keygen bob.key",
        "operator add bob --login bob.key --role viewer",
        "operator add bob --login bob.key",
        "operator add bob",
        "manifest list --operator bob --login-key bob.key",
        "manifest record agent --operator bob --login-key bob.key",
        "manifest list --operator bobby --login-key bob.key",
        "manifest list --login-key grant.key",
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons operator keygen bob.key
      public  <64 hex>
      file  ~/bob.key
      $ dragons operator keygen bob.key
      dragons: key file ~/bob.key exists; it is not replaced
      [exit 78]
      $ dragons operator add bob --login bob.key --role viewer
      operator  bob
      keys  1
      keyset  version 2
      $ dragons operator add bob --login bob.key
      dragons: key <64 hex> has a role in the keyset already; make another with: dragons operator keygen
      [exit 64]
      $ dragons operator add bob
      dragons: give a key to add: --login KEY, --grant KEY, or both
      [exit 64]
      $ dragons manifest list --operator bob --login-key bob.key
      MANIFEST  HASH  FILES  SCOPES  RECORDED  STATE  DOCKED
      reconciler@v7  <16 hex>  1  read:payments  <time>  in force  -
      $ dragons manifest record agent --operator bob --login-key bob.key
      dragons: bob is VIEWER; this call needs OPERATOR (ROLE_INSUFFICIENT)
      [exit 77]
      $ dragons manifest list --operator bobby --login-key bob.key
      dragons: token.sub, token.iss: must be the key's holder as the keyset names it (CREDENTIAL_INVALID)
      [exit 77]
      $ dragons manifest list --login-key grant.key
      dragons: key file grant.key cannot be read: ENOENT
      [exit 78]
      "
    `);
  });

  test("a grant is taken back, and everything done stands in the audit", async () => {
    const grant = await idOf("grant");
    expect(
      await terminal.transcript(
        `grant revoke ${grant} --reason "books are closed"`,
        "grant list",
        "audit list",
        "audit list --what grant",
        "audit list --what bogus",
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons grant revoke grt_… --reason "books are closed"
      grant  grt_…
      revoked  epoch 1
      $ dragons grant list
      GRANT  MANIFEST  SCOPES  UNTIL  STATE  PURPOSE
      grt_…  <16 hex>  read:payments  <time>  revoked by epoch 1  close the books
      $ dragons audit list
      SEQ  AT  WHAT  SUMMARY  ACTOR
      1  <time>  keyset  version 1  control plane
      2  <time>  manifest  reconciler@v7  <16 hex>
      3  <time>  grant  grt_…: close the books  <16 hex>
      4  <time>  dock  dck_…  <16 hex>
      5  <time>  keyset  version 2  <16 hex>
      6  <time>  revocation  epoch 1, grant: books are closed  <16 hex>
      $ dragons audit list --what grant
      SEQ  AT  WHAT  SUMMARY  ACTOR
      3  <time>  grant  grt_…: close the books  <16 hex>
      $ dragons audit list --what bogus
      dragons: --what: bogus is none of keyset, manifest, grant, dock, genesis, lease, revocation, transition, directive, head, equivocation, alarm, heartbeat
      [exit 64]
      "
    `);
  });

  test("programs get JSON, YAML or names; what is not there is an empty list", async () => {
    const { out, code } = await terminal.dragons("grant", "list", "-o", "json");
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject([
      { purpose: "close the books", leaseTtlMaxUs: 15_000_000, revokedEpoch: 1 },
    ]);
    expect(
      await terminal.transcript(
        "lease list",
        "lease list -o json",
        "organism list -o name",
        "lease list -o xml",
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons lease list
      none
      $ dragons lease list -o json
      []
      $ dragons organism list -o name
      $ dragons lease list -o xml
      dragons: --output: xml is none of table, json, yaml, name
      [exit 64]
      "
    `);
  });

  test("a grant key may live in a command, which gets the bytes and answers the signature", async () => {
    const signer = terminal.path("kms.mjs");
    await writeFile(signer, KMS);
    const seed = terminal.path(".dragons/keys/grant.key");
    const { publicKey } = await fileSigner(seed);
    const grant = (key: string, ...command: string[]) =>
      terminal.dragons(
        "grant",
        "create",
        "--manifest=reconciler@v7",
        "--scope=read:payments",
        "--unlimited",
        "--purpose=signed elsewhere",
        `--grant-key=exec:${key} ${command.join(" ")}`,
      );
    const kms = [process.execPath, signer, seed];
    expect(await grant(toHex(publicKey), ...kms)).toMatchObject({ code: 0, err: "" });
    const login = await fileSigner(".dragons/keys/login.key");
    const other = await grant(toHex(login.publicKey), ...kms);
    expect(other).toMatchObject({ code: 78, out: "" });
    expect(other.err).toMatch(/^dragons: signer .* answered 64 bytes that are no signature by /);
    const failed = await grant(toHex(publicKey), "/bin/false");
    expect(failed).toMatchObject({ code: 78, out: "" });
    expect(failed.err).toBe(
      "dragons: signer /bin/false failed (exit 1); it must exit with 0, see what it said above\n",
    );
    expect((await grant("abc", ...kms)).err).toMatch(/^dragons: key: abc is no Ed25519 public key/);
    expect((await grant(toHex(publicKey))).err).toMatch(
      /^dragons: key: exec: wants the public key/,
    );
  });
});

describe("what cannot be done says why, and ends with the code for it", () => {
  test("69 when nobody answers or another answers, 77 for the wrong key, 78 for files", async () => {
    expect(
      await terminal.transcript(
        "grant list --control 127.0.0.1:1",
        "grant list --control-ca agent/agent.py",
        "grant list --control-ca nowhere.pem",
        "grant list --audience dcp_0",
        "grant list --login-key nowhere.key",
        "operator list --trust agent/dragon.yaml",
        "grant list --profile agent/dragon.yaml",
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons grant list --control HOST:PORT
      dragons: control plane HOST:PORT cannot be reached: connect ECONNREFUSED HOST:PORT; is it running, and is --control-ca its authority?
      [exit 69]
      $ dragons grant list --control-ca agent/agent.py
      dragons: control plane HOST:PORT cannot be reached: unable to verify the first certificate; its certificate is by no authority in --control-ca: if that was exchanged, take the control plane's ca.pem anew
      [exit 69]
      $ dragons grant list --control-ca nowhere.pem
      dragons: controlCa: ENOENT: no such file or directory, open 'nowhere.pem'
      [exit 78]
      $ dragons grant list --audience dcp_0
      dragons: token.aud: is for another control plane; this one is dcp_… (CREDENTIAL_INVALID)
      [exit 77]
      $ dragons grant list --login-key nowhere.key
      dragons: key file nowhere.key cannot be read: ENOENT
      [exit 78]
      $ dragons operator list --trust agent/dragon.yaml
      dragons: trust file agent/dragon.yaml: file: make it JSON
      [exit 78]
      $ dragons grant list --profile agent/dragon.yaml
      dragons: profile ~/agent/dragon.yaml is not JSON
      [exit 78]
      "
    `);
  });

  test("64 for what no command takes, 1 for what is not there", async () => {
    expect(
      await terminal.transcript(
        "bogus",
        "grant lst",
        "grant list --colour red",
        "grant show",
        "grant show grt_0",
        "lease revoke lse_0 --reason drill",
        "organism watch --state dreaming",
        "receipt list --limit none",
        "receipt list --ledger nowhere",
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons bogus
      dragons: unknown command 'bogus'
      add --help to see what it takes
      [exit 64]
      $ dragons grant lst
      dragons: unknown command 'lst'
      (Did you mean list?)
      add --help to see what it takes
      [exit 64]
      $ dragons grant list --colour red
      dragons: unknown option '--colour'
      add --help to see what it takes
      [exit 64]
      $ dragons grant show
      dragons: missing required argument 'grant'
      add --help to see what it takes
      [exit 64]
      $ dragons grant show grt_0
      dragons: no such grant (NO_SUCH_OBJECT)
      [exit 1]
      $ dragons lease revoke lse_0 --reason drill
      dragons: no such current lease (NO_SUCH_OBJECT)
      [exit 1]
      $ dragons organism watch --state dreaming
      dragons: --state: dreaming is none of docked, running, degraded, autohealing, quarantined, stopped
      [exit 64]
      $ dragons receipt list --limit none
      dragons: --limit: none is no whole number from 1
      [exit 64]
      $ dragons receipt list --ledger nowhere
      dragons: --ledger: nowhere is not 64 hex digits; see: dragons organism show
      [exit 64]
      "
    `);
  });

  test("run says what is wrong with a rule or a manifest before anything is recorded", async () => {
    await writeFile("agent/broken.yaml", "name: broken\n");
    expect(
      await terminal.transcript(
        'run --contain off --allow "grpc a.B/Get" -- true',
        'run --contain off --allow "grpc a.B/Get at host" -- true',
        'run --contain off --allow "grpc a.B at host:443" -- true',
        "run --contain off --manifest nowhere.yaml -- true",
        "run --contain off --manifest agent/broken.yaml --yes -- true",
        "run --contain perhaps -- true",
        "run --contain off",
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons run --contain off --allow "grpc a.B/Get" -- true
      dragons: --allow: grpc a.B/Get is none of 'grpc SERVICE/METHOD at HOST:PORT', 'http METHOD URL' and 'mcp METHOD [NAME] at SERVER'
      [exit 64]
      $ dragons run --contain off --allow "grpc a.B/Get at host" -- true
      dragons: --allow: grpc a.B/Get at host has no port; write at: host:443
      [exit 64]
      $ dragons run --contain off --allow "grpc a.B at host:443" -- true
      dragons: --allow: grpc a.B at host:443 has the path "/a.B", which no gRPC call has; write /package.Service/Method
      [exit 64]
      $ dragons run --contain off --manifest nowhere.yaml -- true
      dragons: manifest: ENOENT: no such file or directory, open '~/nowhere.yaml'; draft one with: dragons manifest init
      [exit 78]
      $ dragons run --contain off --manifest agent/broken.yaml --yes -- true
      dragons: manifest ~/agent/broken.yaml: has no \`version\`
      [exit 78]
      $ dragons run --contain perhaps -- true
      dragons: --contain: perhaps is neither require nor off
      [exit 64]
      $ dragons run --contain off
      dragons: name the agent's command after --: dragons run … -- CMD
      [exit 64]
      "
    `);
  });

  test("what cannot be written is no bug of ours", async () => {
    expect(
      await terminal.transcript(
        "manifest init --file no/such/folder/dragon.yaml",
        "trust init ready.json/trust.json",
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons manifest init --file no/such/folder/dragon.yaml
      dragons: ENOENT: no such file or directory, scandir '~/no/such/folder'
      [exit 78]
      $ dragons trust init ready.json/trust.json
      dragons: EEXIST: file already exists, mkdir '~/ready.json'
      [exit 78]
      "
    `);
  });

  test("a key given where settings are expected is not quoted", async () => {
    const seed = (await readFile(".dragons/keys/login.key", "utf8")).slice(0, 8);
    const key = ".dragons/keys/login.key";
    for (const flags of [
      ["grant", "list", "--profile", key],
      ["operator", "list", "--trust", key],
      ["tenant", "list", "--ready", key],
    ]) {
      const { code, err } = await terminal.dragons(...flags);
      expect(code).toBe(78);
      expect(err).not.toContain(seed);
    }
  });

  test("a root key that the tenant does not have changes nothing", async () => {
    await terminal.dragons("operator", "keygen", "mallory.key");
    expect(
      await terminal.transcript(
        "operator add mallory --login mallory.key --root-key mallory.key",
        "trust init mallory.json --root-key mallory.key",
        "operator list --trust mallory.json",
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons operator add mallory --login mallory.key --root-key mallory.key
      dragons: the keyset of tenant acme is not to be trusted: keyset: signed by another key than the tenant root (E_KEY_UNKNOWN); if the root was rotated: dragons trust adopt FILE
      [exit 2]
      $ dragons trust init mallory.json --root-key mallory.key
      tenant  acme
      root  <64 hex>
      keyset  version 1 or later
      cosigners  those of the keyset
      witnesses  none asked for
      trust file: ~/mallory.json
      $ dragons operator list --trust mallory.json
      dragons: the keyset of tenant acme is not to be trusted: keyset: signed by another key than the tenant root (E_KEY_UNKNOWN); if the root was rotated: dragons trust adopt FILE
      [exit 2]
      "
    `);
  });

  test("no secret was said on the way: no seed, no join token, no owner's token", async () => {
    const secrets = await Promise.all(
      [
        ...["root", "grant", "login"].map((name) => `.dragons/keys/${name}.key`),
        "join.key",
        "bob.key",
        "sidecar.token",
        control.ready.bootstrapTokenFile,
      ].map((path) => readFile(path, "utf8")),
    );
    expect(terminal.said.length).toBeGreaterThan(1000);
    for (const secret of secrets) expect(terminal.said).not.toContain(secret.trim());
    // Not even the beginning of one.
    expect(terminal.said).not.toMatch(/dg[jb]_[A-Za-z0-9]/);
  });
});
