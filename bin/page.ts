import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { rolldown } from "rolldown";

const HOME = join(import.meta.dirname, "..");
const ROOM = join(HOME, "src/console");
const VERIFIERS = join(HOME, "verifiers");

/**
 * The auditor's page as one HTML file: style, page and verifier inlined, and a policy that lets these
 * very bytes run and nothing be fetched. The verifier is text until the page makes a worker of it, since
 * browsers start no worker from a file beside a file.
 */
export async function buildPage(): Promise<string> {
  const html = source("page.html");
  const links = [...html.matchAll(/<link rel="stylesheet" href="(.+)">\n/g)];
  const style = `\n${links.map(([, file = ""]) => source(file)).join("\n")}`;
  const script = `\n${await bundle("main.ts")}`;
  const worker = `\n${await bundle("worker.ts")}`;
  const policy = [
    "default-src 'none'",
    `script-src ${hashOf(script)}`,
    `style-src ${hashOf(style)}`,
    "worker-src blob:",
    "require-trusted-types-for 'script'",
    "trusted-types verifier",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  return inline(html, [
    ["default-src 'none'", policy],
    [links.map(([link]) => link).join(""), `<style>${style}</style>\n`],
    [' src="worker.ts">', `>${worker}`],
    [' src="main.ts">', `>${script}`],
  ]);
}

/** Puts each text in the place of the words that name it, which stand in the page once. */
function inline(page: string, parts: readonly (readonly [string, string])[]): string {
  return parts.reduce((text, [name, part]) => {
    const [before, after, ...more] = text.split(name);
    if (after === undefined || more.length > 0)
      throw new Error(`page.html: ${name} stands not once`);
    return `${before}${part}${after}`;
  }, page);
}

/**
 * One entry of src/console and all that it imports, as one classic script for a browser. Types and
 * comments go and nothing else: whoever takes the page can read the verifier in it.
 */
async function bundle(entry: "worker.ts" | "main.ts"): Promise<string> {
  const build = await rolldown({ input: join(ROOM, entry), cwd: HOME, platform: "browser" });
  const comments = { legal: true, annotation: false, jsdoc: false };
  const { output } = await build.generate({ format: "iife", comments });
  await build.close();
  const [chunk, ...more] = output;
  if (more.length > 0) throw new Error(`${entry} came out as ${output.length} files`);
  // Either would end the script element, or change how its end is looked for.
  if (/<\/script|<!--/i.test(chunk.code)) throw new Error(`${entry} cannot stand in HTML`);
  return chunk.code;
}

const source = (name: string): string => readFileSync(join(ROOM, name), "utf8");

const hashOf = (text: string): string =>
  `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

/**
 * What a release publishes of the two verifiers, as `sha256sum -c` reads it: `<hex>  <path>`, of the page
 * given and of each file of the one in Python, from the folder `verifiers`.
 */
export function sums(page: string): string {
  const python = readdirSync(join(VERIFIERS, "python"), { recursive: true, encoding: "utf8" })
    .map((path) => `python/${path}`)
    .filter((path) => /\.(py|md|txt|toml)$/.test(path));
  const files = new Map<string, string | Uint8Array>([
    ["page/auditor.html", page],
    ...python.sort().map((path) => [path, readFileSync(join(VERIFIERS, path))] as const),
  ]);
  const line = ([path, bytes]: [string, string | Uint8Array]) =>
    `${createHash("sha256").update(bytes).digest("hex")}  ${path}\n`;
  return [...files].map(line).join("");
}

if (import.meta.main) {
  const page = await buildPage();
  writeFileSync(join(VERIFIERS, "page/auditor.html"), page);
  writeFileSync(join(VERIFIERS, "SHA256SUMS"), sums(page));
}
