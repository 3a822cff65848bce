import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type RunningControl, runControl } from "../../src/control/main.ts";
import { systemClock } from "../../src/native/clock.ts";
import { Terminal } from "./terminal.ts";

/** docs/keys.md, typed line by line as it stands there. */

const DOC = new URL("../../docs/keys.md", import.meta.url);

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
  await writeFile("agent.py", "print('hello')\n");
  const rules = "    - grpc: payments.v1.Payments/Get\n      at: payments.internal:443";
  await writeFile(
    "dragon.yaml",
    `name: reconciler\nversion: v7\ncode: [agent.py]\ncapabilities:\n  read:payments:\n${rules}\n`,
  );
});
afterAll(async () => {
  await control.close();
  await terminal.close();
});

test("every command of docs/keys.md works as it is pasted, in its order", async () => {
  const doc = await readFile(DOC, "utf8");
  const blocks = [...doc.matchAll(/^```sh\n(.*?)^```$/gms)].map((m) => m[1] ?? "");
  const lines = blocks.join("").trimEnd().split("\n");
  expect(lines.length).toBeGreaterThan(30);
  const variables = new Map<string, string>();
  for (const line of lines) {
    const [, name, command] = /^(?:([A-Z]+)=\$\()?dragons (.*?)\)?$/.exec(line) ?? [];
    if (command === undefined) throw new Error(`docs/keys.md: ${line} is no command of ours`);
    const words = [...command.matchAll(/"([^"]*)"|(\S+)/g)].map((m) =>
      (m[1] ?? m[2] ?? "").replace(/\$([A-Z]+)/g, (_, n: string) => variables.get(n) ?? ""),
    );
    const { code, out, err } = await terminal.dragons(...words);
    expect(code, `${line}\n${err}`).toBe(0);
    if (name !== undefined) variables.set(name, out.trim());
  }
});
