import { spawn } from "node:child_process";
import { buffer, text } from "node:stream/consumers";

/** Runs a program to its end. Nothing of this process's environment that names a proxy reaches it. */
export async function run(
  argv: readonly [string, ...string[]],
  environment: Readonly<Record<string, string>>,
  input: string,
): Promise<{ exit: number; stdout: string; stderr: string }> {
  const inherited = Object.entries(process.env).filter(([name]) => !/proxy/i.test(name));
  const [command, ...rest] = argv;
  const child = spawn(command, rest, {
    env: { ...Object.fromEntries(inherited), ...environment },
  });
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  const [stdout, stderr, exit] = await Promise.all([
    buffer(child.stdout),
    text(child.stderr),
    new Promise<number>((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code) => resolve(code ?? -1));
    }),
  ]);
  return { exit, stdout: stdout.toString(), stderr };
}
