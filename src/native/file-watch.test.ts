import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { watchedFoldersMax } from "../domain/limits.ts";
import { FileWatch } from "./file-watch.ts";
import { measure } from "./manifest-file.ts";

let folder: string;
let watch: FileWatch;
let told: number;
let failed: string[];
let waiting: (() => void)[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "watch-"));
  await mkdir(join(folder, "agent/lib"), { recursive: true });
  await mkdir(join(folder, "logs"));
  await mkdir(join(folder, "elsewhere"));
  await writeFile(join(folder, "agent/a.py"), "a");
  await writeFile(join(folder, "elsewhere/dragon.yaml"), YAML);
  told = 0;
  failed = [];
  waiting = [];
  watch = new FileWatch({
    folder,
    manifestFile: join(folder, "elsewhere/dragon.yaml"),
    changed: () => {
      told++;
      for (const resolve of waiting.splice(0)) resolve();
    },
    failed: (why) => failed.push(why),
  });
  await follow();
});
afterEach(async () => {
  watch.close();
  await rm(folder, { recursive: true });
});

const YAML = "name: a\nversion: v1\ncode: [agent/**/*.py]\n";
const follow = async () => watch.follow((await measure(folder, YAML)).reach);
/** Resolves when a change is told after what `act` does. */
async function tells(act: () => Promise<unknown>): Promise<void> {
  const heard = new Promise<void>((resolve) => waiting.push(resolve));
  await act();
  await heard;
}
const write = (path: string, text = "x") => writeFile(join(folder, path), text);

test("a measured file that is written, replaced or removed is told", async () => {
  await tells(() => write("agent/a.py"));
  await write("new.tmp");
  await tells(() => rename(join(folder, "new.tmp"), join(folder, "agent/a.py")));
  await tells(() => rm(join(folder, "agent/a.py")));
});

test("a file that a glob comes to name is told, in a folder that was not there before too", async () => {
  await tells(() => write("agent/lib/new.py"));
  await tells(() => mkdir(join(folder, "agent/deep")));
  await follow();
  await tells(() => write("agent/deep/x.py"));
});

test("a folder in the place of another is watched like the first", async () => {
  await tells(() => rename(join(folder, "agent/lib"), join(folder, "old")));
  await mkdir(join(folder, "agent/lib"));
  await follow();
  await tells(() => write("agent/lib/new.py"));
});

test("a link where a glob reaches is told", async () => {
  await tells(() => symlink("../logs", join(folder, "agent/link")));
});

test("the manifest itself is watched, wherever it is", async () => {
  await tells(() => write("elsewhere/dragon.yaml", `${YAML}# more\n`));
});

test("what the agent writes beside its code is nobody's business", async () => {
  await write("logs/today.log");
  await write("agent/agent.log");
  await write("top.py");
  await write("elsewhere/notes.txt");
  // inotify tells in order: had one of them been told, it would have been before this.
  await tells(() => rm(join(folder, "agent/a.py")));
  expect(told).toBe(1);
});

test("more folders than may be watched are not, and somebody is told", async () => {
  const folders = Array.from({ length: watchedFoldersMax + 1 }, (_, i) => [`d${i}`]);
  watch.follow({ folders, concerns: () => "FILE" });
  watch.follow({ folders, concerns: () => "FILE" });
  expect(failed).toEqual([`${watchedFoldersMax + 1} folders are more than ${watchedFoldersMax}`]);
});
