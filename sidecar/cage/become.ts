import { delimiter, join } from "node:path";
import { dropCapabilities, duplicate, execute, filterSystemCalls } from "../../src/native/libc.ts";
import { cageFilter } from "./filter.ts";
import { type FromInside, type Furniture, STDERR, type Start } from "./words.ts";

/**
 * The second program in a cage: it waits for the agent's command, gives up all that it may do, and
 * becomes the agent, as `env` would have.
 */

/** What shells exit with for a command that cannot be run. */
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;

const options = JSON.parse(process.argv[2] as string) as Furniture["filter"];
process.once("disconnect", () => process.exit(1));
process.once("message", begin);
process.send?.({ say: "prepared" } satisfies FromInside);

function begin({ command, env }: Start): void {
  const filter = cageFilter({ ...options, of: "AGENT" });
  try {
    dropCapabilities();
    filterSystemCalls(filter);
    duplicate(STDERR, 2);
  } catch (error) {
    console.error((error as Error).message);
    process.exit(1);
  }
  const { exit, why } = become(command, env);
  process.send?.({ say: "not started", exit, why } satisfies FromInside, () => process.exit(exit));
}

/** Comes back only where the command cannot be executed. */
function become(command: readonly string[], env: Start["env"]): { exit: number; why: string } {
  const [name, ...args] = command as [string, ...string[]];
  const variables = Object.entries(env).map(([key, value]) => `${key}=${value}`);
  const folders = (env.PATH ?? "/usr/bin:/bin").split(delimiter);
  const files = name.includes("/") ? [name] : folders.map((folder) => join(folder, name));
  let why = "ENOENT";
  for (const file of files) {
    let error = execute(file, [name, ...args], variables);
    // A script that does not say what reads it.
    if (error === "ENOEXEC") error = execute("/bin/sh", ["sh", file, ...args], variables);
    if (error !== "ENOENT" && error !== "ENOTDIR") why = error;
  }
  return { exit: why === "ENOENT" ? NOT_FOUND : NOT_EXECUTABLE, why: `${name}: ${why}` };
}
