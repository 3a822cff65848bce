import { readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fromHex, toHex } from "../../domain/bytes.ts";
import { type Manifest, ManifestBody, manifestHash, manifestLabel } from "../../domain/manifest.ts";
import { native } from "../../native/crypto.ts";
import { type Measured, measure } from "../../native/manifest-file.ts";
import { ManifestFileError } from "../../native/manifest-yaml.ts";
import { type Control, pages, requestId } from "../client.ts";
import { EXIT, Failure } from "../failure.ts";

export interface RecordedManifest extends Measured {
  /** Microseconds since the epoch. */
  readonly recordedAtUs: number;
}

/**
 * Measures the agent of a `dragon.yaml`, or of the folder that has one.
 *
 * @param folder where the agent's files are, if not beside its `dragon.yaml`
 * @throws Failure naming file and line.
 */
export async function measureFile(path: string, folder?: string): Promise<Measured> {
  const file = (await isFolder(path)) ? join(path, "dragon.yaml") : path;
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const fix = code === "ENOENT" ? "; draft one with: dragons manifest init" : "";
    throw new Failure(EXIT.config, `manifest: ${message}${fix}`);
  }
  try {
    return await measure(folder ?? dirname(file), text);
  } catch (error) {
    const { syscall, message } = error as NodeJS.ErrnoException;
    if (!(error instanceof ManifestFileError) && syscall === undefined) throw error;
    throw new Failure(EXIT.config, `manifest ${file}: ${message}`);
  }
}

/** Records a manifest; the answer is the same however often. */
export async function recordManifest(
  control: Control,
  manifest: Pick<Measured, "bytes">,
): Promise<{ readonly hash: Uint8Array; readonly revision: number }> {
  const answer = await control.manifests.recordManifest({
    requestId: requestId(),
    manifest: manifest.bytes,
  });
  return { hash: answer.manifestHash, revision: Number(answer.revision) };
}

/** Recorded manifests, oldest first. */
export async function listManifests(control: Control): Promise<RecordedManifest[]> {
  const all: RecordedManifest[] = [];
  for await (const page of pages((pageToken) => control.manifests.listManifests({ pageToken }))) {
    for (const { manifest, recordedAtUs } of page.manifests) {
      all.push({ ...read(manifest), recordedAtUs: Number(recordedAtUs) });
    }
  }
  return all;
}

/**
 * The manifest meant by a hash, the beginning of one, a label (`reconciler@v7`: the one recorded last)
 * or the path of a `dragon.yaml`, which is measured now.
 */
export async function findManifest(control: Control, name: string): Promise<Measured> {
  if (/^[0-9a-f]{64}$/.test(name)) {
    const { manifest } = await control.manifests.getManifest({ manifestHash: fromHex(name) });
    return read(manifest);
  }
  const isLabel = /^[a-z0-9-]+@[A-Za-z0-9._+-]+$/.test(name);
  const isPrefix = /^[0-9a-f]{8,63}$/.test(name);
  if ((!isLabel && !isPrefix) || (await exists(name))) return measureFile(name);
  const found = (await listManifests(control)).filter((m) =>
    isLabel ? manifestLabel(m.manifest) === name : toHex(m.hash).startsWith(name),
  );
  const [last] = found.slice(-1);
  if (last === undefined) {
    throw new Failure(
      EXIT.failed,
      `manifest: none is recorded as ${name}; see: dragons manifest list`,
    );
  }
  if (isPrefix && found.length > 1) {
    throw new Failure(EXIT.usage, `manifest: ${found.length} hashes begin with ${name}`);
  }
  return last;
}

/** What the control plane says is not believed: the hash is made here. */
function read(bytes: Uint8Array): Measured {
  const manifest: Manifest = ManifestBody.decode(bytes);
  return { manifest, bytes, hash: manifestHash(native, bytes) };
}

const isFolder = async (path: string): Promise<boolean> =>
  (await stat(path).catch(() => null))?.isDirectory() ?? false;

const exists = async (path: string): Promise<boolean> =>
  (await stat(path).catch(() => null)) !== null;
