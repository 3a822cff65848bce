import { spawnSync } from "node:child_process";
import { chmod, readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { clockOf, exitOf, node, sealing } from "../../src/cli/actions/doctor.ts";
import { openSigner } from "../../src/cli/actions/keys.ts";
import { openControl } from "../../src/cli/client.ts";
import { type RunningControl, runControl } from "../../src/control/main.ts";
import { ManualClock, systemClock } from "../../src/native/clock.ts";
import { Terminal } from "./terminal.ts";

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
  await terminal.dragons("tenant", "create", "acme", "--ready", "ready.json", "--operator", "al");
});
afterAll(async () => {
  await control.close();
  await terminal.close();
});

interface Found {
  readonly check: string;
  readonly level: string;
  readonly detail: string;
}
async function doctor(...more: string[]): Promise<{ code: number; of: Map<string, Found> }> {
  const { code, out } = await terminal.dragons("doctor", "-o", "json", ...more);
  return { code, of: new Map((JSON.parse(out) as Found[]).map((f) => [f.check, f])) };
}

describe("dragons doctor", () => {
  test("finds nothing wrong where nothing is", async () => {
    const { code, of } = await doctor();
    expect(code).toBe(0);
    for (const check of [
      "node",
      "profile",
      "loginKey",
      "grantKey",
      "control CA",
      "control plane",
    ]) {
      expect(of.get(check), check).toMatchObject({ level: "OK" });
    }
    expect(of.get("login")?.detail).toBe("al of acme");
    expect(of.get("clock")?.level).toBe("OK");
    expect(of.get("port 7071")).toBeDefined();
    expect(of.get("sealing")).toBeDefined();
  });

  test("names a key that others may read, and what to type: exit 78", async () => {
    const key = terminal.path("open.key");
    await writeFile(key, "00".repeat(32));
    await chmod(key, 0o644);
    const { code, of } = await doctor("--grant-key", key);
    expect(code).toBe(78);
    expect(of.get("grantKey")).toMatchObject({
      level: "FAIL",
      detail: expect.stringContaining(`chmod 600 ${key}`),
    });
  });

  test("says when nobody answers: exit 69", async () => {
    const { code, of } = await doctor("--control", "127.0.0.1:1");
    expect(code).toBe(69);
    expect(of.get("control plane")).toMatchObject({ level: "FAIL" });
  });

  test("says when somebody answers and does not know us: exit 77", async () => {
    const { code, of } = await doctor("--operator", "mallory");
    expect(code).toBe(77);
    expect(of.get("control plane")?.level).toBe("OK");
    expect(of.get("login")?.level).toBe("FAIL");
  });

  test("says what a certificate is not: exit 78", async () => {
    await writeFile("no.pem", "not a certificate");
    const { of } = await doctor("--control-ca", "no.pem");
    expect(of.get("control CA")?.level).toBe("FAIL");
  });

  test.each([
    ["ahead of", 3_600_000_000],
    ["behind", -3_600_000_000],
  ])("knows from a refused login that this machine's clock is %s the other", async (word, byUs) => {
    const profile = JSON.parse(await readFile(".dragons/profile.json", "utf8"));
    const { audience, control: address, controlCa, loginKey } = profile as Record<string, string>;
    const login = { operator: "al", audience, signer: await openSigner(loginKey as string) };
    const off = openControl({
      address: address as string,
      ca: await readFile(controlCa as string, "utf8"),
      tenant: "acme",
      login: login as never,
      bootstrap: null,
      clock: new ManualClock(Date.now() * 1000 + byUs),
    });
    const refused = await off.manifests.listManifests({}).then(
      () => "let in",
      (error: Error) => error.message,
    );
    off.close();
    expect(clockOf(refused)).toMatchObject({
      level: "FAIL",
      detail: expect.stringContaining(word),
    });
  });

  test("knows which Node is too old", () => {
    expect(["24.15.0", "25.0.0", "24.14.9", "22.99.0"].map((v) => node(v).level)).toEqual([
      "OK",
      "OK",
      "FAIL",
      "FAIL",
    ]);
    expect(exitOf([node("24.15.0"), node("20.0.0")])).toBe(78);
  });
});

describe("dragons completion", () => {
  const script = async (shell: string) => (await terminal.dragons("completion", shell)).out;

  /** What bash offers for the last of these words. */
  async function offers(...words: string[]): Promise<string[]> {
    const set = words.map((w) => `'${w}'`).join(" ");
    const ask = `${await script("bash")}\nCOMP_WORDS=(${set}); COMP_CWORD=${words.length - 1}; _dragons; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const done = spawnSync("bash", ["-c", ask], { encoding: "utf8" });
    expect(done.stderr).toBe("");
    return done.stdout.trim().split("\n");
  }

  test("offers what there is, as the commands are", async () => {
    expect(await offers("dragons", "man")).toEqual(["manifest"]);
    expect(await offers("dragons", "ru")).toEqual(["run"]);
    expect(await offers("dragons", "manifest", "h")).toEqual(["hash", "history"]);
    expect(await offers("dragons", "manifest", "init", "--f")).toEqual(["--file", "--force"]);
    expect(await offers("dragons", "manifest", "--profile", "x", "ret")).toEqual(["retire"]);
  });

  test("is written for three shells, and no other", async () => {
    expect(await script("zsh")).toContain("bashcompinit");
    expect(await script("fish")).toContain(
      'complete -c dragons -n "__fish_seen_subcommand_from manifest; and not __fish_seen_subcommand_from init',
    );
    const other = await terminal.dragons("completion", "tcsh");
    expect([other.code, other.err]).toEqual([
      64,
      "dragons: completion: tcsh is none of bash, zsh, fish\n",
    ]);
  });
});

test("dragons --version says what npm knows", async () => {
  const { version } = JSON.parse(
    await readFile(new URL("../../package.json", import.meta.url), "utf8"),
  ) as { version: string };
  expect(await terminal.dragons("--version")).toMatchObject({ code: 0, out: `${version}\n` });
});

test("a wall that does not hold fails; a machine without one is told what to type", () => {
  expect(sealing({ faults: [] }).level).toBe("OK");
  expect(sealing({ faults: ["files: x can be written to"] })).toMatchObject({
    level: "FAIL",
    detail: "files: x can be written to",
    exit: 78,
  });
  const lacking = sealing({ lacking: true, why: "bwrap is not installed", remedy: "install it" });
  expect(lacking).toMatchObject({ level: "WARN", detail: expect.stringContaining("install it") });
});
