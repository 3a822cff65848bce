import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openJournaled } from "../../src/storage/journaled.ts";
import { openLmdb } from "../../src/storage/lmdb.ts";
import { lacks } from "../skips.ts";
import { check } from "./fixture.ts";

// Real faults of a real disk, each in a process of its own. Where this machine cannot make one, the
// test says so; failures.test.ts holds the same promises with a store that fails on command.

const CHILD = join(import.meta.dirname, "child.ts");

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "dragons-disk-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A process that tells lines, and can be told one. */
class Child {
  readonly process: ChildProcessWithoutNullStreams;
  readonly exit: Promise<number | null>;
  readonly lines: string[] = [];
  #wanted: { pattern: RegExp; found: (line: string) => void } | null = null;

  constructor(command: string, ...args: string[]) {
    this.process = spawn(command, args);
    let rest = "";
    const read = (chunk: Buffer): void => {
      const whole = (rest + chunk.toString("latin1")).split("\n");
      rest = whole.pop() as string;
      this.lines.push(...whole);
      this.#look();
    };
    this.process.stdout.on("data", read);
    this.process.stderr.on("data", read);
    this.exit = new Promise((resolve) => this.process.on("close", resolve));
    void this.exit.then(() => this.#wanted?.found(`ended: ${this.lines.join("\n")}`));
  }

  line(pattern: RegExp): Promise<string> {
    return new Promise((found) => {
      this.#wanted = { pattern, found };
      this.#look();
    });
  }

  #look(): void {
    const line = this.lines.find((l) => this.#wanted?.pattern.test(l));
    if (line !== undefined) this.#wanted?.found(line);
  }
}

const ledgerIn = (path: string, ...args: string[]): Child =>
  new Child(process.execPath, CHILD, path, ...args);

describe("one process holds a ledger", () => {
  test("a second is refused, and told by whom", async () => {
    const first = ledgerIn(folder, "hold");
    expect(await first.line(/^ready|cannot/)).toBe("ready 1 0");
    const second = ledgerIn(folder, "hold");
    expect(await second.line(/ready|cannot/)).toBe(
      `cannot open: FolderHeld: ${folder} is held by process ${first.process.pid}`,
    );
    expect(await second.exit).toBe(75);
    first.process.stdin.end();
    expect(await first.exit).toBe(0);
  });

  test("a killed one holds nothing", async () => {
    const first = ledgerIn(folder, "hold");
    await first.line(/^ready/);
    first.process.kill("SIGKILL");
    await first.exit;
    const second = ledgerIn(folder, "hold");
    expect(await second.line(/ready|cannot/)).toBe("ready 2 0");
    second.process.stdin.end();
    expect(await second.exit).toBe(0);
  });
});

/** Attaches after the start, so that only the journal's writes from now on are disturbed. */
async function disturb(pid: number | undefined, fault: string): Promise<Child> {
  const strace = new Child(
    "strace",
    "-f",
    "-p",
    `${pid}`,
    "-P",
    join(folder, "journal"),
    "-e",
    "trace=pwrite64",
    "-e",
    `inject=pwrite64:${fault}`,
  );
  await strace.line(/attached/);
  return strace;
}

describe.skipIf(lacks("strace"))("a durable write that misbehaves", () => {
  test("EIO: refused at once, the process ends with 70, the next one verifies", async () => {
    const child = ledgerIn(folder, "once");
    await child.line(/^ready/);
    const strace = await disturb(child.process.pid, "error=EIO");
    child.process.stdin.write("go\n");
    const told = await child.line(/^(opened|refused)/);
    expect(told).toMatch(/^refused LEDGER_UNAVAILABLE \d+ the ledger cannot be written/);
    expect(Number(told.split(" ")[2])).toBeLessThan(1000);
    expect(await child.exit).toBe(70);
    expect(child.lines.filter((l) => l.startsWith("unhandled"))).toEqual([]);
    await strace.exit;
    const next = ledgerIn(folder, "once");
    await next.line(/^ready/);
    next.process.stdin.write("go\n");
    expect(await next.line(/^(opened|refused)/)).toBe("opened");
    expect(await next.exit).toBe(0);
    expect(await brokenIn(folder)).toBeNull();
  });

  test("hung: refused at the deadline, not before it and not for ever", async () => {
    const child = ledgerIn(folder, "once");
    await child.line(/^ready/);
    const strace = await disturb(child.process.pid, "delay_enter=30s");
    child.process.stdin.write("go\n");
    const told = await child.line(/^(opened|refused)/);
    expect(told).toMatch(/^refused LEDGER_UNAVAILABLE \d+ the disk is late/);
    const milliseconds = Number(told.split(" ")[2]);
    expect(milliseconds).toBeGreaterThanOrEqual(999);
    expect(milliseconds).toBeLessThan(5000);
    child.process.kill("SIGKILL");
    strace.process.kill("SIGKILL");
    await Promise.all([child.exit, strace.exit]);
  });
});

describe.skipIf(lacks("tmpfs"))("a full disk", () => {
  test("refused at once, the process ends with 70, what was told before is all there", async () => {
    // The mount lives and dies with the process that sees it; the copy is what survives it.
    const script = [
      `mount -t tmpfs -o size=4m tmpfs ${folder}`,
      // An intent larger than what is left.
      `"${process.execPath}" "${CHILD}" ${folder}/ledger once 4000000`,
      "echo exit $?",
      `"${process.execPath}" "${CHILD}" ${folder}/ledger once 10`,
    ].join("\n");
    const child = new Child("unshare", "-m", "sh", "-c", script);
    await child.line(/^ready/);
    child.process.stdin.write("go\n");
    const told = await child.line(/^(opened|refused)/);
    expect(told).toMatch(/^refused LEDGER_UNAVAILABLE \d+ the ledger cannot be written/);
    expect(Number(told.split(" ")[2])).toBeLessThan(500);
    expect(await child.line(/^exit/)).toBe("exit 70");
    await child.line(/^ready 2 0/);
    child.process.stdin.write("go\n");
    expect(await child.line(/^opened/)).toBe("opened");
    expect(await child.exit).toBe(0);
  });
});

async function brokenIn(path: string) {
  const store = await openJournaled(path, () => openLmdb(path));
  try {
    return check(store, path);
  } finally {
    await store.close();
  }
}
