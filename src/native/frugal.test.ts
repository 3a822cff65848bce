import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";

test("a process that is to have two threads for its disk has two, and whom it launches is told nothing of it", async () => {
  const module = new URL("./frugal.ts", import.meta.url).href;
  const program = `
    import { readdirSync, readFileSync } from "node:fs";
    import { stat } from "node:fs/promises";
    import { keepFrugal } from "${module}";
    keepFrugal({ youngMb: 16, growthPercent: 20, malloc: {}, threads: 2 });
    await Promise.all(Array.from({ length: 16 }, () => stat("/")));
    const threads = readdirSync("/proc/self/task").map((id) =>
      readFileSync("/proc/self/task/" + id + "/comm", "utf8").trim());
    console.log(threads.filter((name) => name === "libuv-worker").length, process.env.UV_THREADPOOL_SIZE);
  `;
  const run = promisify(execFile)(process.execPath, ["--input-type=module", "-e", program], {
    env: { PATH: process.env.PATH },
  });
  expect((await run).stdout).toBe("2 undefined\n");
});
