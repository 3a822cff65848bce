import { mkdir, rm, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RunningControl, runControl } from "../../src/control/main.ts";
import { LivenessPolicy } from "../../src/domain/grant.ts";
import { systemClock } from "../../src/native/clock.ts";
import { Terminal } from "./terminal.ts";

/** Identities as an operator sees them: drafted, compared, retired, and what came aboard when. */

const SECOND_US = 1_000_000;
let terminal: Terminal;
let control: RunningControl;

const yaml = (version: string, ...rules: string[]): string =>
  [
    "name: reconciler",
    `version: ${version}`,
    "code: [agent.py]",
    "capabilities:",
    "  read:payments:",
    ...rules.map((r) => `    - grpc: ${r}\n      at: payments.internal:443`),
    "",
  ].join("\n");

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
  for (const folder of ["v7", "v8", "new"]) await mkdir(folder);
  await writeFile("v7/agent.py", "print('seven')\n");
  await writeFile("v7/dragon.yaml", yaml("v7", "payments.v1.Payments/Get"));
  await writeFile("v8/agent.py", "print('eight')\n");
  await writeFile("v8/dragon.yaml", yaml("v8", "payments.v1.Payments/{Get,List}*"));
  await writeFile("new/main.py", "print('new')\n");
  await terminal.dragons(
    "tenant",
    "create",
    "acme",
    "--ready",
    "ready.json",
    "--operator",
    "alice",
  );
});
afterAll(async () => {
  await control.close();
  await terminal.close();
});

describe("dragons manifest", () => {
  test("drafts what it can measure, and replaces nothing that it was not told to", async () => {
    await writeFile("new/keep.yaml", "mine\n");
    expect(
      await terminal.transcript(
        "manifest init --file new/dragon.yaml python3 main.py",
        "manifest hash new",
        "manifest init --file new/dragon.yaml",
        "manifest init --file new/keep.yaml --force -o name",
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons manifest init --file new/dragon.yaml python3 main.py
      manifest  ~/new/dragon.yaml
      add the scopes that it needs under capabilities, then: dragons manifest record
      $ dragons manifest hash new
      manifest  new@v1
      hash  <64 hex>
      files  1
      scopes  -
      $ dragons manifest init --file new/dragon.yaml
      dragons: ~/new/dragon.yaml exists; --force replaces it
      [exit 1]
      $ dragons manifest init --file new/keep.yaml --force -o name
      ~/new/keep.yaml
      add the scopes that it needs under capabilities, then: dragons manifest record
      "
    `);
    await rm("new/keep.yaml");
  });

  test("tells two apart in words, and by its exit code", async () => {
    expect(
      await terminal.transcript(
        "manifest diff v7 v7",
        "manifest diff v7 v8",
        "manifest diff v8 nowhere",
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons manifest diff v7 v7
      one identity
      $ dragons manifest diff v7 v8
      WHAT  CHANGE  NAME  DETAIL
      version  changed  version  v7 → v8
      code  changed  agent.py  <16 hex> → <16 hex>
      capability  widened  read:payments  allows all that it did, and more: + grpc payments.v1.Payments/{Get,List}* at payments.internal:443; − grpc payments.v1.Payments/Get at payments.internal:443
      3 changes: another identity
      [exit 1]
      $ dragons manifest diff v8 nowhere
      dragons: manifest: ENOENT: no such file or directory, open 'nowhere'; draft one with: dragons manifest init
      [exit 78]
      "
    `);
  });

  test("compares what is recorded with what is here", async () => {
    await terminal.dragons("manifest", "record", "v7");
    await terminal.dragons("manifest", "record", "v8");
    const same = await terminal.dragons("manifest", "diff", "reconciler@v7", "v7", "-o", "json");
    expect([same.code, same.out]).toEqual([0, "[]\n"]);
    const other = await terminal.dragons("manifest", "diff", "reconciler@v8", "v7", "-o", "json");
    expect(other.code).toBe(1);
    expect(JSON.parse(other.out).map((d: { change: string }) => d.change)).toEqual([
      "changed",
      "changed",
      "narrowed",
    ]);
  });

  test("retires one for good", async () => {
    expect(
      await terminal.transcript(
        "manifest retire reconciler@v7",
        "manifest retire reconciler@v9 --reason old",
        'manifest retire reconciler@v7 --reason "v7 leaks"',
        "manifest list",
        "manifest history",
        "manifest show reconciler@v7",
        'grant create --manifest reconciler@v7 --scope read:payments --unlimited --purpose "once more"',
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons manifest retire reconciler@v7
      dragons: required option '--reason <text>' not specified
      add --help to see what it takes
      [exit 64]
      $ dragons manifest retire reconciler@v9 --reason old
      dragons: manifest: none is recorded as reconciler@v9; see: dragons manifest list
      [exit 1]
      $ dragons manifest retire reconciler@v7 --reason "v7 leaks"
      manifest  reconciler@v7
      hash  <64 hex>
      retired  epoch 1
      $ dragons manifest list
      MANIFEST  HASH  FILES  SCOPES  RECORDED  STATE  DOCKED
      reconciler@v7  <16 hex>  1  read:payments  <time>  retired by epoch 1  -
      reconciler@v8  <16 hex>  1  read:payments  <time>  in force  -
      $ dragons manifest history
      none
      $ dragons manifest show reconciler@v7
      name: reconciler
      version: v7
      code:
        - agent.py # 15 bytes, sha256 <64 hex>
      config: []
      capabilities:
        read:payments:
          - grpc: payments.v1.Payments/Get
            at: payments.internal:443
      retired by revocation 1: nothing new stands on it
      $ dragons grant create --manifest reconciler@v7 --scope read:payments --unlimited --purpose "once more"
      dragons: manifest_hash: retired by revocation 1; record and grant another version (MANIFEST_RETIRED)
      [exit 1]
      "
    `);
  });
});

describe("dragons grant create --observe", () => {
  const create =
    'grant create --manifest reconciler@v8 --scope read:payments --unlimited --purpose "a week"';
  test("is loud, bounded, and off unless it is said", async () => {
    expect(
      await terminal.transcript(
        `${create} --for 30d --observe 7d`,
        `${create} --for 30d --observe 15d`,
        `${create} --for 1h --observe 7d`,
        create,
        "grant list",
      ),
    ).toMatchInlineSnapshot(`
      "
      $ dragons grant create --manifest reconciler@v8 --scope read:payments --unlimited --purpose "a week" --for 30d --observe 7d
      grant  grt_…
      manifest  <64 hex>
      scopes  read:payments unlimited
      from  <time>
      until  <time>
      lease  at most 1m
      instances  1
      measured  files
      purpose  a week
      signed by  <64 hex>
      state  in force (OBSERVES ONLY until <time>)
      next  dragons dock create --grant grt_…
      IT MERELY OBSERVES until <time>: what no scope allows passes
      $ dragons grant create --manifest reconciler@v8 --scope read:payments --unlimited --purpose "a week" --for 30d --observe 15d
      dragons: grant.observeUntilUs lasts 1296000000000 µs, at most 1209600000000: observe for less
      [exit 64]
      $ dragons grant create --manifest reconciler@v8 --scope read:payments --unlimited --purpose "a week" --for 1h --observe 7d
      dragons: grant.observeUntilUs is after the grant's end
      [exit 64]
      $ dragons grant create --manifest reconciler@v8 --scope read:payments --unlimited --purpose "a week"
      grant  grt_…
      manifest  <64 hex>
      scopes  read:payments unlimited
      from  <time>
      until  <time>
      lease  at most 1m
      instances  1
      measured  files
      purpose  a week
      signed by  <64 hex>
      state  in force
      next  dragons dock create --grant grt_…
      $ dragons grant list
      GRANT  MANIFEST  SCOPES  UNTIL  STATE  PURPOSE
      grt_…  <16 hex>  read:payments  <time>  in force (OBSERVES ONLY until <time>)  a week
      grt_…  <16 hex>  read:payments  <time>  in force  a week
      "
    `);
  });
});

describe("dragons grant create: what its organisms are watched by", () => {
  const create =
    'grant create --manifest reconciler@v8 --scope read:payments --unlimited --purpose "be watched" -o name';
  /** The liveness policy of the grant that a command made, as it is recorded. */
  const recorded = async (more = ""): Promise<LivenessPolicy> => {
    const words = `${create}${more}`.match(/"[^"]*"|\S+/g) ?? [];
    const { code, out } = await terminal.dragons(...words.map((w) => w.replaceAll('"', "")));
    expect(code).toBe(0);
    const tenant = control.tenants.get("acme");
    const grant = [...(tenant?.grants() ?? [])].find((g) => g.artifact.body.grantId === out.trim());
    if (grant === undefined) throw new Error(`no grant ${out}`);
    return grant.artifact.body.liveness;
  };

  test("each of the thresholds that are said stands in it, as said", async () => {
    const stall = " --stall-degraded 10m --stall-autoheal 25m --quarantine-stalled";
    expect(await recorded(`${stall} --heartbeat 5s --silent-beyond-lease stop`)).toEqual({
      heartbeatIntervalUs: 5 * SECOND_US,
      stallDegradedUs: 600 * SECOND_US,
      stallAutohealUs: 1500 * SECOND_US,
      silentBeyondLease: "STOP",
      quarantineStalled: "YES",
    });
  });

  test("what is not said is not there, for the defaults to count", async () => {
    expect(await recorded()).toEqual(LivenessPolicy.empty());
  });
});
