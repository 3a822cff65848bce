// Installs the locked dependencies if they are not there yet, or not those of the lockfile.
// Runs on whatever Node the machine has; no dependency's install script is run.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";

const MARK = "node_modules/.installed";
const lock = createHash("sha256").update(readFileSync("package-lock.json")).digest("hex");

function installed() {
  try {
    return readFileSync(MARK, "utf8") === lock;
  } catch {
    return false;
  }
}

if (!installed()) {
  process.stderr.write("dragons: installing dependencies…\n");
  const args = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  // The Node that runs npm, not this one: this one may lie in the folder that is replaced.
  const { npm_execpath: npm, npm_node_execpath: node } = process.env;
  const run =
    npm && node
      ? spawnSync(node, [npm, ...args], { stdio: ["ignore", 2, 2] })
      : spawnSync("npm", args, { stdio: ["ignore", 2, 2] });
  if (run.status !== 0) process.exit(run.status ?? 1);
  writeFileSync(MARK, lock);
}
