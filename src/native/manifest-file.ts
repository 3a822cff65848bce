import { isUtf8 } from "node:buffer";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { compare, utf8 } from "../domain/bytes.ts";
import { manifestBytesMax, manifestFilesMax, manifestWalkMax } from "../domain/limits.ts";
import {
  type Capability,
  checkRecording,
  type FileDigest,
  type Manifest,
  ManifestBody,
  manifestHash,
} from "../domain/manifest.ts";
import type { McpServer } from "../domain/mcp-server.ts";
import { listensLines, scalar, scopeLines, serverLines } from "../domain/remedy.ts";
import { native } from "./crypto.ts";
import { FileDigests } from "./file-digest.ts";
import type { Reach } from "./file-watch.ts";
import { type GlobLine, parseManifestYaml } from "./manifest-yaml.ts";
import { YamlFileError } from "./strict-yaml.ts";

/** An identity as it was measured: the manifest, its one encoding, and the hash of that. */
export interface Measured {
  readonly manifest: Manifest;
  readonly bytes: Uint8Array;
  /** manifest_hash, 32 bytes. */
  readonly hash: Uint8Array;
}

/** A measurement that was made here, with what it looked at. */
export interface MeasuredHere extends Measured {
  readonly reach: Reach;
}

/**
 * Measures an agent: reads every file that the globs of `dragon.yaml` name, under `folder`, and makes
 * the manifest. The same files give the same hash on every machine, whatever order the disk lists
 * them in. Nothing is ignored but `.dragons`, where Dragons itself keeps data.
 *
 * @throws YamlFileError when the text or a file is not as it must be: symbolic links, sockets and
 * devices where a glob reaches; a glob that matches nothing; more files than a manifest may hold.
 */
export async function measure(folder: string, yamlText: string): Promise<MeasuredHere> {
  const text = parseManifestYaml(yamlText);
  const globs = [...text.code, ...text.config];
  const { files, folders } = await walk(folder, globs);
  const digests = new Map<string, FileDigest>();
  const reader = new FileDigests();
  for (const path of files) digests.set(path, await digest(reader, folder, path));
  const manifest: Manifest = {
    version: 1,
    name: text.name,
    agentVersion: text.agentVersion,
    code: choose(text.code, digests),
    config: choose(text.config, digests),
    runtime: text.runtime,
    capabilities: text.capabilities as Capability[],
    servers: text.servers as McpServer[],
    listens: text.listens as string[],
  };
  const problem = checkRecording(manifest);
  if (problem !== null) throw new YamlFileError(0, problem.detail);
  const bytes = ManifestBody.encode(manifest);
  if (bytes.length > manifestBytesMax) {
    throw new YamlFileError(
      0,
      `the manifest is ${bytes.length} bytes, at most ${manifestBytesMax}`,
    );
  }
  const reach = { folders, concerns: (names: readonly string[]) => concern(globs, names) };
  return { manifest, bytes, hash: manifestHash(native, bytes), reach };
}

function concern(globs: readonly GlobLine[], names: readonly string[]): "FILE" | "FOLDER" | null {
  if (names[0] === OWN) return null;
  if (globs.some(({ glob }) => glob.matches(names))) return "FILE";
  return globs.some(({ glob }) => glob.reaches(names)) ? "FOLDER" : null;
}

/** Where Dragons itself keeps data, at the top of an agent's folder. */
const OWN = ".dragons";

/** Paths of all files that a glob names, sorted as the manifest wants them, and folders looked into. */
async function walk(
  folder: string,
  globs: readonly GlobLine[],
): Promise<{ readonly files: string[]; readonly folders: string[][] }> {
  const files: string[] = [];
  const folders: string[][] = [];
  const unread: string[][] = [[]];
  let seen = 0;
  for (let names = unread.pop(); names !== undefined; names = unread.pop()) {
    folders.push(names);
    const options = { withFileTypes: true, encoding: "buffer" } as const;
    for (const entry of await readdir(join(folder, ...names), options)) {
      const name = entry.name.toString();
      if (names.length === 0 && name === OWN) continue;
      if (++seen > manifestWalkMax) {
        throw new YamlFileError(
          0,
          `more than ${manifestWalkMax} files to look through; narrow the globs`,
        );
      }
      const inner = [...names, name];
      const path = inner.join("/");
      const wanted = globs.some(({ glob }) => glob.matches(inner));
      const within = globs.some(({ glob }) => glob.reaches(inner));
      // Read as text, two such names may be one: the other would go unmeasured.
      if ((wanted || within) && !isUtf8(entry.name)) {
        throw new YamlFileError(0, `${path} has a name that is not UTF-8, and cannot be named`);
      }
      if (entry.isDirectory()) {
        if (within) unread.push(inner);
      } else if (entry.isSymbolicLink()) {
        if (wanted || (within && (await leadsToFolder(join(folder, path))))) {
          throw new YamlFileError(
            0,
            `${path} is a symbolic link, and links are not measured; put the file there, or narrow the globs`,
          );
        }
      } else if (wanted) {
        if (!entry.isFile()) throw new YamlFileError(0, `${path} is not a regular file`);
        if (files.push(path) > manifestFilesMax) {
          throw new YamlFileError(0, `more than ${manifestFilesMax} files match; narrow the globs`);
        }
      }
    }
  }
  return { files: files.sort((a, b) => compare(utf8(a), utf8(b))), folders };
}

/** A link that leads nowhere leads to no folder. */
const leadsToFolder = async (path: string): Promise<boolean> => {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
};

async function digest(files: FileDigests, folder: string, path: string): Promise<FileDigest> {
  const found = await files.digest(join(folder, path)).catch((error: NodeJS.ErrnoException) => {
    throw new YamlFileError(0, `${path} cannot be read: ${error.code}`);
  });
  if (found === null) throw new YamlFileError(0, `${path} is not a regular file`);
  return { path, ...found };
}

function choose(
  globs: readonly GlobLine[],
  digests: ReadonlyMap<string, FileDigest>,
): FileDigest[] {
  const chosen = new Set<FileDigest>();
  for (const { glob, line } of globs) {
    let any = false;
    for (const [path, file] of digests) {
      if (!glob.matches(path.split("/"))) continue;
      any = true;
      chosen.add(file);
    }
    if (!any) throw new YamlFileError(line, `${glob.source} matches no file`);
  }
  // `digests` is sorted, and each list keeps its order.
  return [...digests.values()].filter((file) => chosen.has(file));
}

/** A manifest as `dragon.yaml`, each file by name, its digest beside it. */
export function renderManifestYaml(manifest: Manifest): string {
  const files = (key: string, list: readonly FileDigest[]): string[] =>
    list.length === 0
      ? [`${key}: []`]
      : [
          `${key}:`,
          ...list.map((f) => {
            const sha256 = Buffer.from(f.sha256).toString("hex");
            return `  - ${scalar(f.path)} # ${f.size} bytes, sha256 ${sha256}`;
          }),
        ];
  return [
    `name: ${scalar(manifest.name)}`,
    `version: ${scalar(manifest.agentVersion)}`,
    ...files("code", manifest.code),
    ...files("config", manifest.config),
    ...(manifest.runtime === "" ? [] : [`runtime: ${scalar(manifest.runtime)}`]),
    ...(manifest.capabilities.length === 0
      ? ["capabilities: {}"]
      : ["capabilities:", ...manifest.capabilities.flatMap((c) => scopeLines(c.name, c.rules))]),
    ...serverLines(manifest.servers),
    ...listensLines(manifest.listens),
    "",
  ].join("\n");
}
