import { mkdir, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runControl } from "../../src/control/main.ts";
import { systemClock } from "../../src/native/clock.ts";
import { Terminal } from "./terminal.ts";

/** A manifest's scopes, tried out before anybody is granted them. */

let terminal: Terminal;

const YAML = `
name: reconciler
version: v7
code: [agent/**/*.py]
capabilities:
  read:payments:
    - grpc: payments.v1.Payments/{Get,List}*
      at: payments.internal:443
  write:ledger:
    - http: POST https://ledger.internal/v1/entries
      when: json.amount_minor <= 50000 && json.currency in ["EUR", "USD"]
    - http: POST https://ledger.internal/v1/entries
      when: >-
        query.dry_run && header["x-account"] == 7
  use:tickets:
    - mcp: tools/call create_ticket
      server: tracker
      when: args.title.startsWith("bug")
`;

beforeAll(async () => {
  terminal = await Terminal.open();
  await writeFile("dragon.yaml", YAML);
});
afterAll(() => terminal.close());

const ENTRIES = "http POST https://ledger.internal/v1/entries";
const body = (amount: string) => `{"amount_minor": ${amount}, "currency": "EUR"}`;
const explain = async (action: string, ...flags: string[]) => {
  const { code, out, err } = await terminal.dragons(
    "scope",
    "explain",
    ...action.split(" "),
    ...flags,
  );
  return `\n${out}${err}${code === 0 ? "" : `[exit ${code}]`}`;
};

describe("dragons scope explain", () => {
  test("names the rule that allows", async () => {
    expect(await explain(ENTRIES, "--body", body("50000"))).toMatchInlineSnapshot(`
      "
      action    http POST https://ledger.internal/v1/entries
      answer    ALLOWED
      because   write:ledger allows it
      rule      write:ledger: http POST https://ledger.internal/v1/entries when json.amount_minor <= 50000 && json.currency in ["EUR", "USD"]
      inputs    json.amount_minor INT 50000, json.currency STRING EUR
      manifest  reconciler@v7
      held      read:payments, use:tickets, write:ledger

      SCOPE         HELD  CONDITION                                              RULE
      write:ledger  yes   holds                                                  http POST https://ledger.internal/v1/entries when json.amount_minor <= 50000 && json.currency in ["EUR", "USD"]
      write:ledger  yes   cannot be evaluated: header["x-account"] is not there  http POST https://ledger.internal/v1/entries when query.dry_run && header["x-account"] == 7
      "
    `);
  });

  test("names the clause that fails, and what was read", async () => {
    expect(await explain(ENTRIES, "--body", body("70000"))).toMatchInlineSnapshot(`
      "
      action    http POST https://ledger.internal/v1/entries
      answer    DENIED (CONDITION_FALSE)
      because   write:ledger allows POST https://ledger.internal/v1/entries only when json.amount_minor <= 50000
      rule      write:ledger: http POST https://ledger.internal/v1/entries when json.amount_minor <= 50000 && json.currency in ["EUR", "USD"]
      inputs    json.amount_minor INT 70000, json.currency STRING EUR
      manifest  reconciler@v7
      held      read:payments, use:tickets, write:ledger

      SCOPE         HELD  CONDITION                                              RULE
      write:ledger  yes   fails: json.amount_minor <= 50000                      http POST https://ledger.internal/v1/entries when json.amount_minor <= 50000 && json.currency in ["EUR", "USD"]
      write:ledger  yes   cannot be evaluated: header["x-account"] is not there  http POST https://ledger.internal/v1/entries when query.dry_run && header["x-account"] == 7
      "
    `);
  });

  test("tells what cannot be read, as the sidecar would not", async () => {
    expect(await explain(ENTRIES, "--body", body("50000.0"))).toMatchInlineSnapshot(`
      "
      action    http POST https://ledger.internal/v1/entries
      answer    DENIED (CONDITION_UNEVALUABLE)
      because   write:ledger allows POST https://ledger.internal/v1/entries only when json.amount_minor <= 50000 && json.currency in ["EUR", "USD"], and json.amount_minor cannot be read: NOT_INT64
      rule      write:ledger: http POST https://ledger.internal/v1/entries when json.amount_minor <= 50000 && json.currency in ["EUR", "USD"]
      inputs    json.amount_minor UNREADABLE NOT_INT64, json.currency STRING EUR
      manifest  reconciler@v7
      held      read:payments, use:tickets, write:ledger

      SCOPE         HELD  CONDITION                                                         RULE
      write:ledger  yes   cannot be evaluated: json.amount_minor cannot be read: NOT_INT64  http POST https://ledger.internal/v1/entries when json.amount_minor <= 50000 && json.currency in ["EUR", "USD"]
      write:ledger  yes   cannot be evaluated: header["x-account"] is not there             http POST https://ledger.internal/v1/entries when query.dry_run && header["x-account"] == 7
      "
    `);
  });

  test("reads query and header fields of what is typed", async () => {
    expect(
      await explain(`${ENTRIES}?dry_run=true`, "--header", "X-Account: 7"),
    ).toMatchInlineSnapshot(`
      "
      action    http POST https://ledger.internal/v1/entries
      answer    ALLOWED
      because   write:ledger allows it
      rule      write:ledger: http POST https://ledger.internal/v1/entries when query.dry_run && header["x-account"] == 7
      inputs    header["x-account"] STRING 7, query.dry_run STRING true
      manifest  reconciler@v7
      held      read:payments, use:tickets, write:ledger

      SCOPE         HELD  CONDITION                                            RULE
      write:ledger  yes   cannot be evaluated: json.amount_minor is not there  http POST https://ledger.internal/v1/entries when json.amount_minor <= 50000 && json.currency in ["EUR", "USD"]
      write:ledger  yes   holds                                                http POST https://ledger.internal/v1/entries when query.dry_run && header["x-account"] == 7
      "
    `);
  });

  test("tells what is held, and what would allow what is not", async () => {
    const asked = "grpc payments.v1.Payments/Get at payments.internal:443";
    expect(await explain(asked, "--scope", "write:ledger")).toMatchInlineSnapshot(`
      "
      action    grpc payments.v1.Payments/Get at payments.internal:443
      answer    DENIED (SCOPE_NOT_GRANTED)
      because   payments.v1.Payments/Get at payments.internal:443 needs read:payments, which is not granted
      rule      none
      inputs    none
      manifest  reconciler@v7
      held      write:ledger

      SCOPE          HELD  CONDITION  RULE
      read:payments  no    -          grpc payments.v1.Payments/{Get,List}* at payments.internal:443

      what would allow it:
      dragons grant create --manifest reconciler@v7 --scope read:payments --scope write:ledger --unlimited --purpose "allow payments.v1.Payments/Get"
      "
    `);
  });

  test("tells what came nearest where no rule speaks of it", async () => {
    expect(
      await explain("grpc payments.v1.Payments/Refund at payments.internal:443"),
    ).toMatchInlineSnapshot(`
      "
      action    grpc payments.v1.Payments/Refund at payments.internal:443
      answer    DENIED (SCOPE_NOT_GRANTED)
      because   payments.v1.Payments/Refund at payments.internal:443 is in no scope of the manifest; read:payments comes nearest
      rule      none
      inputs    none
      manifest  reconciler@v7
      held      read:payments, use:tickets, write:ledger

      what would allow it:
      # in dragon.yaml, with a new version:
      capabilities:
        write:payments:
          - grpc: payments.v1.Payments/Refund
            at: payments.internal:443
      # then:
      dragons manifest record dragon.yaml
      dragons grant create --manifest dragon.yaml --scope read:payments --scope use:tickets --scope write:ledger --scope write:payments --unlimited --purpose "allow payments.v1.Payments/Refund"
      "
    `);
  });

  test("judges arguments of MCP, and TLS", async () => {
    const title = ["--body", '{"title": "bug: it barks"}'];
    expect(await explain("mcp tools/call create_ticket at tracker", ...title, "-o", "name")).toBe(
      "\nALLOWED\n",
    );
    expect(await explain(ENTRIES.replace("https", "http"), "--body", body("1"), "-o", "name")).toBe(
      "\nDENIED (SCOPE_NOT_GRANTED)\n",
    );
  });

  test("knows an opaque place by its host and port", async () => {
    const yaml = "name: a\nversion: v1\ncode: []\ncapabilities:\n";
    await writeFile("bank.yaml", `${yaml}  opaque:bank:\n    - opaque: bank.example:8443\n`);
    const at = (port: number, ...flags: string[]) =>
      explain(`opaque bank.example:${port}`, "--manifest", "bank.yaml", ...flags);
    expect(await at(8443, "-o", "name")).toBe("\nALLOWED\n");
    const other = await at(443);
    expect(other).toContain("opaque bank.example:443 is in no scope of the manifest; opaque:bank");
    expect(other).toContain("    - opaque: bank.example:443");
  });

  test("answers programs with all of it", async () => {
    const { out } = await terminal.dragons(
      ..."scope explain -o json --body".split(" "),
      body("70000"),
      ...ENTRIES.split(" "),
    );
    expect(JSON.parse(out)).toMatchObject({
      allowed: false,
      reason: "CONDITION_FALSE",
      scope: "write:ledger",
      inputs: [
        { name: "json.amount_minor", type: "INT", value: "70000" },
        { name: "json.currency", type: "STRING", value: "EUR" },
      ],
      rules: [
        { held: true, outcome: "FALSE", condition: "fails: json.amount_minor <= 50000" },
        { held: true, outcome: "UNEVALUABLE" },
      ],
    });
  });

  test.each([
    ["grpc payments.v1.Payments/Get", /write grpc SERVICE\/METHOD at HOST:PORT/],
    ["grpc a/b/c at h:1", /not \/package\.Service\/Method; it is refused as REQUEST_NOT_NORMAL/],
    ["http GET ledger.internal/x", /is no URL/],
    ["http GET https://h/%2e%2e/x", /climbs above its root/],
  ])("%s is no action", async (action, why) => {
    const said = await explain(action);
    expect(said).toMatch(why);
    expect(said).toMatch(/\[exit 64\]$/);
  });

  test("refuses scopes and manifests that are none", async () => {
    expect(await explain(ENTRIES, "--scope", "write:legder")).toMatch(
      /reconciler@v7 has no write:legder; it has read:payments, use:tickets, write:ledger\n\[exit 64\]$/,
    );
    await writeFile(
      "bad.yaml",
      YAML.replace("json.amount_minor <= 50000", "json.amount_minor <= 1.5"),
    );
    expect(await explain(ENTRIES, "--manifest", "bad.yaml")).toMatch(
      /bad\.yaml: line 10: a rule of write:ledger has a condition \(`when`\) that has 1\.5, which is no 64-bit integer\n\[exit 78\]$/,
    );
  });
});

test("tries what was recorded, with what a grant grants", async () => {
  const control = await runControl(
    {
      data: terminal.path("control"),
      listen: { host: "127.0.0.1", port: 0 },
      names: [],
      readyFile: terminal.path("ready.json"),
      stdinEof: false,
    },
    { clock: systemClock },
  );
  try {
    await terminal.dragons(..."tenant create acme --ready ready.json --operator alice".split(" "));
    await mkdir("agent");
    await writeFile("agent/main.py", "print('hello')\n");
    expect((await terminal.dragons("manifest", "record", "dragon.yaml")).err).toBe("");
    const { out } = await terminal.dragons(
      ..."grant create --manifest reconciler@v7 --scope read:payments --unlimited --purpose x -o name".split(
        " ",
      ),
    );
    const held = ["--manifest", "reconciler@v7", "--grant", out.trim(), "-o", "name"];
    expect(await explain("grpc payments.v1.Payments/Get at payments.internal:443", ...held)).toBe(
      "\nALLOWED\n",
    );
    expect(await explain(ENTRIES, "--body", body("1"), ...held)).toBe(
      "\nDENIED (SCOPE_NOT_GRANTED)\n",
    );
  } finally {
    await control.close();
  }
});

describe("dragons scope test", () => {
  const EXPECTATIONS = `
- action: ${ENTRIES}
  body: '${body("50000")}'
  expect: allow
  scope: write:ledger
- action: ${ENTRIES}
  body: '${body("50001")}'
  expect: CONDITION_FALSE
- action: ${ENTRIES}?dry_run=true
  headers: { X-Account: "7" }
  held: [write:ledger]
  expect: allow
- action: grpc payments.v1.Payments/Get at payments.internal:443
  held: [write:ledger]
  expect: deny
  scope: read:payments
`;

  test("passes where all is as expected", async () => {
    await writeFile("scopes.yaml", EXPECTATIONS);
    expect(await terminal.transcript("scope test scopes.yaml")).toMatchInlineSnapshot(`
      "
      $ dragons scope test scopes.yaml
      IS  LINE  ACTION  EXPECTED  GOT
      ok  2  http POST https://ledger.internal/v1/entries  allow by write:ledger  allow by write:ledger
      ok  6  http POST https://ledger.internal/v1/entries  CONDITION_FALSE  CONDITION_FALSE
      ok  9  http POST https://ledger.internal/v1/entries?dry_run=true  allow  allow by write:ledger
      ok  13  grpc payments.v1.Payments/Get at payments.internal:443  deny by read:payments  SCOPE_NOT_GRANTED
      4 expectations, all met
      "
    `);
  });

  test("fails where something is not, and tells what came instead", async () => {
    await writeFile(
      "wrong.yaml",
      EXPECTATIONS.replace("CONDITION_FALSE", "allow").replace(
        "scope: read:payments",
        "scope: use:tickets",
      ),
    );
    expect(await terminal.transcript("scope test wrong.yaml")).toMatchInlineSnapshot(`
      "
      $ dragons scope test wrong.yaml
      IS  LINE  ACTION  EXPECTED  GOT
      ok  2  http POST https://ledger.internal/v1/entries  allow by write:ledger  allow by write:ledger
      FAILED  6  http POST https://ledger.internal/v1/entries  allow  CONDITION_FALSE: write:ledger allows POST https://ledger.internal/v1/entries only when json.amount_minor <= 50000
      ok  9  http POST https://ledger.internal/v1/entries?dry_run=true  allow  allow by write:ledger
      FAILED  13  grpc payments.v1.Payments/Get at payments.internal:443  deny by use:tickets  SCOPE_NOT_GRANTED: payments.v1.Payments/Get at payments.internal:443 needs read:payments, which is not granted
      2 of 4 not met
      [exit 2]
      "
    `);
  });

  test.each([
    ["", /has no expectation/],
    ["- action: x y\n", /line 1: expect is not allow, deny or a reason/],
    ["- expect: deny\n", /line 1: an expectation has no `action`/],
    ["- action: x\n  expect: perhaps\n", /line 2: expect is not allow, deny or a reason/],
    [
      "- action: x\n  expects: deny\n",
      /line 2: an expectation has the unknown key `expects`; did you mean `expect`/,
    ],
  ])("a file that says %j is told what is wrong with it", async (text, why) => {
    await writeFile("odd.yaml", text);
    const { code, err } = await terminal.dragons("scope", "test", "odd.yaml");
    expect(err).toMatch(why);
    expect(code).toBe(78);
  });
});
