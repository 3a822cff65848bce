import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

/** `bin/dragons` as a process: what only a real one shows. */

const LAUNCHER = fileURLToPath(new URL("../../bin/dragons", import.meta.url));
const start = (...args: string[]) => spawn(process.execPath, [LAUNCHER, ...args], { cwd: "/" });

async function run(...args: string[]) {
  const child = start(...args);
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk) => {
    out += chunk;
  });
  child.stderr.on("data", (chunk) => {
    err += chunk;
  });
  const [code] = await once(child, "close");
  return { code, out, err };
}

test("--help is an answer, on stdout, and names every command", async () => {
  const { code, out, err } = await run("--help");
  expect({ code, err }).toEqual({ code: 0, err: "" });
  for (const name of [
    "tenant",
    "grant",
    "organism",
    "verify",
    "dev",
    "run",
    "sidecar",
    "control",
  ]) {
    expect(out).toMatch(new RegExp(`^  ${name}\\b`, "m"));
  }
});

test("an exit code is the process's own", async () => {
  expect(await run("grant", "list")).toMatchObject({ code: 78, out: "" });
  expect(await run("no-such-command")).toMatchObject({ code: 64, out: "" });
});

test("a reader that goes away is no fault", async () => {
  const child = start("config", "view");
  child.stdout.destroy();
  let err = "";
  child.stderr.on("data", (chunk) => {
    err += chunk;
  });
  const [code] = await once(child, "close");
  expect({ code, err }).toEqual({ code: 0, err: "" });
});
