import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

const LAUNCHER = join(import.meta.dirname, "../../bin/dragons");

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "dragons-story-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

function dragons(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  return new Promise((resolve, reject) => {
    // Where no profile of an earlier story lies, which would name a trust file of its own.
    const child = spawn(process.execPath, [LAUNCHER, ...args], {
      cwd: folder,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let out = "";
    let err = "";
    child.stdout.on("data", (chunk: Buffer) => (out += chunk));
    child.stderr.on("data", (chunk: Buffer) => (err += chunk));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, out, err }));
  });
}

test("the story comes true, says what it should, and leaves evidence that verifies", async () => {
  const readyFile = join(folder, "ready.json");
  const data = join(folder, "data");
  const told = await dragons(
    "dev",
    "--once",
    "--data",
    data,
    "--port-base",
    "0",
    "--ready-file",
    readyFile,
  );
  expect(told.err).toBe("");
  expect(told.code).toBe(0);
  for (const beat of [
    "identity recorded: reconciler@v7",
    "lease issued: lse_",
    "COMPLETED in read:payments",
    "refused before a byte left: SCOPE_NOT_GRANTED",
    "dragons grant create --manifest",
    "stream cut after",
    "silence is a signal: DEGRADED",
    "ANCHORED: ",
    "BROKEN, E_RECEIPT_SIG at receipt",
  ]) {
    expect(told.out).toContain(beat);
  }
  const ready = JSON.parse(await readFile(readyFile, "utf8"));
  for (const field of [
    "control",
    "proxy",
    "admin",
    "controlCa",
    "agentCa",
    "operatorKey",
    "tenant",
  ]) {
    expect(ready[field], field).toBeTypeOf("string");
  }
  const pack = join(data, "evidence.dragons");
  const good = await dragons("verify", pack, "--trust", join(data, "trust.json"));
  expect(good.code).toBe(0);
  const unpinned = await dragons("verify", pack);
  expect(unpinned.code).toBe(78);
  const tampered = join(data, "evidence.tampered.dragons");
  const broken = await dragons("verify", tampered, "--trust", join(data, "trust.json"));
  expect(broken.code).toBe(2);
  // Nothing that was started is still there.
  for (const pid of Object.values(ready.pids as Record<string, number>)) {
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
  }
}, 90_000);

test("a story that is broken off ends at once, says so, and leaves nobody behind", async () => {
  const readyFile = join(folder, "broken-off.json");
  const flags = ["--once", "--data", join(folder, "broken-off"), "--port-base", "0"];
  const child = spawn(process.execPath, [LAUNCHER, "dev", ...flags, "--ready-file", readyFile], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let err = "";
  child.stderr.on("data", (chunk: Buffer) => (err += chunk));
  let out = "";
  const ended = once(child, "close");
  let askedMs = 0;
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk;
    if (askedMs > 0 || !out.includes("the sidecar is held still")) return;
    askedMs = performance.now();
    child.kill("SIGINT");
  });
  expect(await ended).toEqual([1, null]);
  // Those who wait in the story wait up to 30 s for what they were promised.
  expect(performance.now() - askedMs).toBeLessThan(10_000);
  expect(err).toBe("dragons: broken off; the story is not told\n");
  const { pids } = JSON.parse(await readFile(readyFile, "utf8")) as { pids: object };
  for (const pid of Object.values(pids) as number[]) {
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
  }
}, 90_000);

test("a process of the story that is killed ends it, by name", async () => {
  const flags = ["--once", "--data", join(folder, "killed"), "--port-base", "0"];
  const readyFile = join(folder, "killed.json");
  const child = spawn(process.execPath, [LAUNCHER, "dev", ...flags, "--ready-file", readyFile], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let err = "";
  child.stderr.on("data", (chunk: Buffer) => (err += chunk));
  const ended = once(child, "close");
  let out = "";
  let killed = false;
  for await (const chunk of child.stdout) {
    out += chunk;
    if (killed || !out.includes("What may it do?")) continue;
    killed = true;
    const ready = JSON.parse(await readFile(readyFile, "utf8")) as { pids: { agent: number } };
    process.kill(ready.pids.agent, "SIGKILL");
  }
  expect(await ended).toEqual([1, null]);
  expect(err).toBe("dragons: agent ended with code 137\n");
}, 90_000);
