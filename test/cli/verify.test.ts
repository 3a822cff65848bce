import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toHex } from "../../src/domain/bytes.ts";
import { goodStory, type Story } from "../verifier/build.ts";
import { Terminal } from "./terminal.ts";

/** The auditor's exit codes: design of the evidence format, section 5. */

let terminal: Terminal;
let story: Story;

beforeAll(async () => {
  terminal = await Terminal.open();
  story = await goodStory();
  await writeFile("good.dragons", await story.pack());
  await writeFile("unanchored.dragons", await story.pack({}, { checkpoints: [] }));
  await writeFile(
    "trust.json",
    JSON.stringify({
      format: "dragons trust 0",
      tenant: story.tenantId,
      rootKey: toHex(story.root.publicKey),
    }),
  );
});
afterAll(() => terminal.close());

const verify = (...words: string[]) => terminal.dragons("verify", ...words);

describe("verify", () => {
  test("0: anchored, in sentences, with what it proves and what it does not", async () => {
    const { code, out, err } = await verify("good.dragons", "--trust", "trust.json");
    expect(code).toBe(0);
    expect(err).toBe("");
    expect(out).toMatch(/^ANCHORED: 5 receipts in 1 ledger, /);
    expect(out).toContain("What this proves:\n");
    expect(out).toContain("What it does not prove:\n");
  });

  test("-o json is the whole report", async () => {
    const { code, out } = await verify("good.dragons", "--trust", "trust.json", "-o", "json");
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      format: "dragons report 0",
      verdict: "ANCHORED",
      pinned: true,
    });
  });

  test("-o name is the verdict alone", async () => {
    const { out } = await verify("good.dragons", "--trust", "trust.json", "-o", "name");
    expect(out).toBe("ANCHORED\n");
  });

  test("--timeline tells each receipt that holds, and none after a break", async () => {
    const seqs = async (): Promise<number[]> =>
      (await readFile("time.jsonl", "utf8"))
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line).seq);
    await verify("good.dragons", "--trust", "trust.json", "--timeline", "time.jsonl");
    expect(await seqs()).toEqual([1, 2, 3, 4, 5]);
    await terminal.dragons("tamper", "good.dragons", "--receipt", "3", "-o", "third.dragons");
    await verify("third.dragons", "--trust", "trust.json", "--timeline", "time.jsonl");
    expect(await seqs()).toEqual([1, 2]);
    expect(
      await verify("good.dragons", "--trust", "trust.json", "--timeline", "no/such/folder"),
    ).toMatchObject({ code: 64, out: "" });
  });

  test("2: broken, with the code, the receipt, and from where on nothing can be relied on", async () => {
    const tampered = await terminal.dragons("tamper", "good.dragons", "--receipt", "3");
    expect(tampered.code).toBe(0);
    const { code, out } = await verify("good.tampered.dragons", "--trust", "trust.json");
    expect(code).toBe(2);
    expect(out).toMatch(/^BROKEN\(E_RECEIPT_SIG, 3\) at receipt 3: /);
    expect(out).toContain("Nothing from receipt 3 on may be relied on.");
    expect(out).not.toContain("What this proves:");
  });

  test("2: of another tenant than the trust file names", async () => {
    const file = {
      format: "dragons trust 0",
      tenant: "other",
      rootKey: toHex(story.root.publicKey),
    };
    await writeFile("other.json", JSON.stringify(file));
    expect(await verify("good.dragons", "--trust", "other.json")).toMatchObject({ code: 2 });
  });

  test("3: intact, but nobody countersigned it", async () => {
    const { code, out } = await verify("unanchored.dragons", "--trust", "trust.json");
    expect(code).toBe(3);
    expect(out).toMatch(/^INTACT: /);
  });

  test("78: no trust file, whatever the pack says of itself", async () => {
    const { code, out, err } = await verify("good.dragons");
    expect(code).toBe(78);
    expect(out).toContain("UNPINNED");
    expect(err).toContain("add --trust FILE");
  });

  test.each([
    ["nowhere.json", null, /no such file/],
    ["empty.json", "{}", /format: write "dragons trust 0"/],
    ["yaml.json", "tenant: acme", /make it JSON/],
  ])("78: a trust file that is none: %s", async (name, content, says) => {
    if (content !== null) await writeFile(name, content);
    const { code, out, err } = await verify("good.dragons", "--trust", name);
    expect({ code, out }).toEqual({ code: 78, out: "" });
    expect(err).toMatch(says);
  });

  test("64: no pack, or none that can be read", async () => {
    expect(await verify()).toMatchObject({ code: 64 });
    const { code, err } = await verify("nowhere.dragons", "--trust", "trust.json");
    expect(code).toBe(64);
    expect(err).toMatch(/^dragons: PACK: ENOENT/);
    expect(await verify(".", "--trust", "trust.json")).toMatchObject({ code: 64 });
  });
});

describe("tamper", () => {
  test("64: a copy that cannot be written", async () => {
    const at = ["--at", "40", "-o", "no/such/folder/copy"];
    const { code, err } = await terminal.dragons("tamper", "good.dragons", ...at);
    expect(code).toBe(64);
    expect(err).toMatch(/^dragons: --out: ENOENT.*\n$/);
  });

  test("turns over one bit of the byte that is named, in a copy", async () => {
    const { code } = await terminal.dragons("tamper", "good.dragons", "--at", "40", "-o", "bad");
    expect(code).toBe(0);
    const good = await readFile("good.dragons");
    const bad = await readFile("bad");
    const changed = [...good.keys()].filter((i) => good[i] !== bad[i]);
    expect(changed).toEqual([40]);
    expect(bad).toHaveLength(good.length);
    expect(await verify("bad", "--trust", "trust.json")).toMatchObject({ code: 2 });
  });

  test.each([
    [["--at", "999999999"], /^dragons: --at: byte 999999999 is not within 0 to/],
    [["--at", "-1"], /^dragons: --at: -1 is no whole number from 0/],
    [["--receipt", "6"], /^dragons: --receipt: the pack shows no receipt 6/],
    [[], /^dragons: say which byte/],
    [["--at", "1", "--receipt", "1"], /^dragons: say which byte/],
  ])("64 for a byte that is not there: %j", async (words, says) => {
    const { code, err } = await terminal.dragons("tamper", "good.dragons", ...words);
    expect(code).toBe(64);
    expect(err).toMatch(says);
  });
});
