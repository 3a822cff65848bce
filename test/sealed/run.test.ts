import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type RunningControl, runControl } from "../../src/control/main.ts";
import { systemClock } from "../../src/native/clock.ts";
import { Terminal } from "../cli/terminal.ts";
import { lacks } from "../skips.ts";
import { as, PLAIN } from "./rig.ts";

/** `dragons run` as it is typed, by somebody without any right. */

const LAUNCHER = join(import.meta.dirname, "../../bin/dragons");

/** Does what each line of its standard input says, and tells what came of it in one line. */
const AGENT = `
import os, signal, socket, subprocess, sys, urllib.error, urllib.request

dialled = []

def get(url):
    try:
        return urllib.request.urlopen(url, timeout=60).read().decode()
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.reason}"

def term(number, frame):
    print("asked to end", flush=True)
    sys.exit(9)

signal.signal(signal.SIGTERM, term)
for line in sys.stdin:
    word, argument = line.split()
    if word == "get":
        print(get(argument), flush=True)
    elif word == "dial":
        host, port = argument.split(":")
        dialled.append(socket.create_connection((host, int(port))))
        dialled[-1].sendall(f"GET /queued HTTP/1.1\\r\\nHost: {argument}\\r\\nConnection: close\\r\\n\\r\\n".encode())
        print("connected", flush=True)
    elif word == "answers":
        print([s.makefile().read().split("\\r\\n")[0].split("\\n")[0].strip() for s in dialled], flush=True)
    elif word == "curl":
        print(subprocess.run(["curl", "-sS", argument], capture_output=True, text=True).stdout, flush=True)
    elif word == "list":
        print(sorted(os.listdir(argument)), flush=True)
    elif word == "variables":
        print(sorted(v for v in os.environ if "proxy" in v.lower() or v.startswith("DRAGONS")), flush=True)
`;

/** Tells of the terminal that it stands at. */
const AT_TERMINAL = `
import os, signal, sys

# Signals come in the middle of what is being said, where \`print\` may not be entered again.
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def size(*words):
    columns, rows = os.get_terminal_size(0)
    say(*words, rows, columns)

signal.signal(signal.SIGINT, lambda *_: say("interrupted"))
signal.signal(signal.SIGWINCH, lambda *_: size("size"))
size("tty", *(os.isatty(fd) for fd in (0, 1, 2)))
for line in sys.stdin:
    say("read", line.strip())
say("no more")
sys.exit(7)
`;

const CAGED = "name: caged\nversion: v1\ncode: []\nconfig: []\nruntime: sh\ncapabilities: {}\n";

let terminal: Terminal;
let control: RunningControl;
let upstream: Server;
let url: string;
/** Every path that the upstream was asked for. */
const asked: string[] = [];

beforeAll(async () => {
  upstream = createServer(({ url: path = "" }, answer) => {
    asked.push(path);
    answer.end("hello");
  });
  upstream.listen(0, "127.0.0.1");
  await once(upstream, "listening");
  url = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`;
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
  await writeFile("agent.py", AGENT);
  await writeFile("tty.py", AT_TERMINAL);
  await writeFile(
    "dragon.yaml",
    [
      "name: sealed",
      "version: v1",
      "code: [agent.py]",
      "config: []",
      "runtime: python3",
      "capabilities:",
      "  read:hello:",
      `    - http: GET ${url}/*`,
      "",
    ].join("\n"),
  );
  const { uid, gid } = as("nobody");
  if (uid !== undefined) spawnSync("chown", ["-R", `${uid}:${gid}`, terminal.folder]);
});
afterAll(async () => {
  await control.close();
  await terminal.close();
  upstream.close();
});

/** A run whose agent does as it is told. */
class Run {
  readonly child: ChildProcess;
  said = "";
  readonly #lines: AsyncIterator<string>;

  constructor(words: readonly string[], env: Record<string, string> = PLAIN) {
    this.child = spawn(process.execPath, [LAUNCHER, "run", ...words], {
      ...as("nobody"),
      cwd: terminal.folder,
      env: { ...env, http_proxy: "http://elsewhere.test:1", DRAGONS_CANARY: "1" },
      stdio: "pipe",
    });
    this.child.stderr?.on("data", (chunk: Buffer) => {
      this.said += chunk.toString();
    });
    this.#lines = createInterface({ input: this.child.stdout as never })[Symbol.asyncIterator]();
  }

  async tell(line: string): Promise<string> {
    this.child.stdin?.write(`${line}\n`);
    return this.line();
  }

  async line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`the run has ended: ${this.said}`);
    return value;
  }

  async hasSaid(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.said)) await once(this.child.stderr as never, "data");
  }

  async ended(): Promise<number> {
    const [code] = (await once(this.child, "close")) as [number];
    return code;
  }

  /** pid of the sidecar: the keeper's child that is one. */
  sidecar(): number {
    const pid = this.child.pid as number;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
    const found = children.find((child) =>
      readFileSync(`/proc/${child}/cmdline`, "latin1").includes("\0sidecar\0--kept\0"),
    );
    return Number(found);
  }
}

test.skipIf(lacks("cage"))(
  "an agent needs no variable, sees no key, and outlives its sidecar, which is another's work",
  async () => {
    const run = new Run(["--yes", "--", "/usr/bin/python3", "agent.py"]);
    const ended = run.ended();
    expect(await run.tell(`get ${url}/a`)).toBe("hello");
    expect(await run.tell(`curl ${url}/b`)).toBe("hello");
    expect(await run.tell("get http://elsewhere.test/")).toBe("403 SCOPE_NOT_GRANTED");
    expect(await run.tell("get http://169.254.169.254/latest/")).toBe("403 SCOPE_NOT_GRANTED");
    expect(await run.tell("list .dragons")).toBe("[]");
    // `dragons mcp` alone is told anything.
    expect(await run.tell("variables .")).toBe("['DRAGONS_PROXY']");

    const data = terminal.path(".dragons/agents/sealed/1");
    const status = await terminal.dragons("sidecar", "status", "--sidecar", data, "-o", "json");
    expect(JSON.parse(status.out)).toMatchObject({ enforcement: "sealed", measured: "launched" });

    // Killed, with nobody to follow it for now: what is dialled waits, and nothing of it gets out.
    const first = run.sidecar();
    run.child.kill("SIGSTOP");
    process.kill(first, "SIGKILL");
    const port = new URL(url).port;
    for (const target of [`127.0.0.1:${port}`, `192.0.2.1:${port}`]) {
      expect(await run.tell(`dial ${target}`)).toBe("connected");
    }
    expect(asked).not.toContain("/queued");
    run.child.kill("SIGCONT");
    expect(await run.tell("answers .")).toBe(
      "['HTTP/1.1 200 OK', 'HTTP/1.1 403 SCOPE_NOT_GRANTED']",
    );
    expect(asked.filter((path) => path === "/queued")).toHaveLength(1);
    const second = run.sidecar();
    expect(second).not.toBe(first);
    expect(await run.tell("get http://elsewhere.test/")).toBe("403 SCOPE_NOT_GRANTED");

    // Asked to hand over, as when another release was installed.
    run.child.kill("SIGUSR2");
    await run.hasSaid(/(?:"accepting calls"[\s\S]*){3}/);
    expect(await run.tell(`get ${url}/d`)).toBe("hello");
    expect(run.sidecar()).not.toBe(second);

    const list = await terminal.dragons("receipt", "list", "-o", "json");
    const receipts = JSON.parse(list.out) as { receiptId: string; verdict: string }[];
    const done = receipts.find((r) => r.verdict === "COMPLETED")?.receiptId as string;
    const shown = await terminal.dragons("receipt", "show", done, "--sidecar", data, "-o", "json");
    expect(shown.out).toMatch(/"enforcement": ?"SEALED"/);
    expect(shown.out).toMatch(/"measure": ?"LAUNCHED"/);

    run.child.kill("SIGTERM");
    expect(await run.line()).toBe("asked to end");
    expect(await ended).toBe(9);
  },
  120_000,
);

test.skipIf(lacks("cage"))(
  "at a terminal it is as under `env`: its size, Ctrl-C, Ctrl-Z and fg, the end of what is typed, the exit code",
  async () => {
    const command = `${process.execPath} ${LAUNCHER} run --yes -- /usr/bin/python3 tty.py`;
    const person = spawn(
      "/usr/bin/python3",
      [
        join(import.meta.dirname, "terminal.py"),
        `${as("nobody").uid ?? process.getuid?.()}`,
        command,
      ],
      { cwd: terminal.folder, env: PLAIN, stdio: ["ignore", "pipe", "inherit"] },
    );
    expect((await text(person.stdout)).trim().split("\n")).toEqual([
      "begins: tty True True True 33 101",
      "resized: size 40 120",
      "ctrl-c: interrupted",
      "ctrl-z: Stopped",
      "shell: status=148",
      "fg: read one line",
      "ctrl-d: no more",
      "ended: status=7",
    ]);
  },
  120_000,
);

test("where it cannot be sealed, nothing is recorded, and it is said what to type", async () => {
  const run = new Run(["--yes", "--", "/usr/bin/python3", "agent.py"], { PATH: "/nowhere" });
  expect(await run.ended()).toBe(78);
  expect(run.said).toContain("the agent cannot be sealed: bwrap");
  expect(run.said).toMatch(/apt-get install .*bubblewrap/);
  expect(run.said).toContain("type --contain off");
});

test.skipIf(lacks("cage"))(
  "where namespaces are forbidden it is found out before anything is recorded",
  async () => {
    const forbidden = terminal.path("forbidden");
    await mkdir(forbidden);
    // What bubblewrap says where it may not, and how it ends.
    const said = "bwrap: No permissions to create a new namespace";
    await writeFile(join(forbidden, "bwrap"), `#!/bin/sh\necho "${said}" >&2\nexit 1\n`, {
      mode: 0o755,
    });
    await writeFile(join(forbidden, "dragon.yaml"), CAGED);
    const words = ["--yes", "--manifest", join(forbidden, "dragon.yaml"), "--", "/bin/true"];
    const run = new Run(words, { PATH: `${forbidden}:${PLAIN.PATH}` });
    expect(await run.ended()).toBe(78);
    expect(run.said).toContain(`a cage cannot be made: ${said}`);
    const { out } = await terminal.dragons("manifest", "list", "-o", "json");
    expect(out).not.toContain("caged");
    expect((await terminal.dragons("grant", "list", "-o", "json")).out).not.toContain("caged");
  },
  60_000,
);

test("--rw takes a folder, and none of the kernel's", async () => {
  const reserved = new Run(["--rw", "/proc", "--", "true"]);
  expect(await reserved.ended()).toBe(64);
  expect(reserved.said).toContain("--rw: /proc");
});
