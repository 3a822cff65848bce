import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

test("a process that is to have two threads for its disk has two, and whom it launches is told nothing of it", async () => {
  const folder = await mkdtemp(join(tmpdir(), "dragons-frugal-"));
  const program = join(folder, "program.mjs");
  await writeFile(
    program,
    `import { readdirSync, readFileSync } from "node:fs";
     import { stat } from "node:fs/promises";
     import { keepFrugal } from ${JSON.stringify(new URL("./frugal.ts", import.meta.url).href)};
     keepFrugal({ youngMb: 16, growthPercent: 20, malloc: {}, threads: 2 });
     await Promise.all(Array.from({ length: 16 }, () => stat("/")));
     const threads = readdirSync("/proc/self/task").map((id) => readFileSync("/proc/self/task/" + id + "/comm", "utf8").trim());
     console.log(threads.filter((name) => name === "libuv-worker").length, process.env.UV_THREADPOOL_SIZE);`,
  );
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [program], {
      env: { PATH: process.env.PATH },
    });
    expect(stdout).toBe("2 undefined\n");
  } finally {
    await rm(folder, { recursive: true });
  }
});
