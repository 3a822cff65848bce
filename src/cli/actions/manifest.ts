import { readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fromHex, toHex } from "../../domain/bytes.ts";
import type { Signer } from "../../domain/crypto.ts";
import { type Manifest, ManifestBody, manifestHash, manifestLabel } from "../../domain/manifest.ts";
import { native } from "../../native/crypto.ts";
import { draftFromFolder } from "../../native/manifest-draft.ts";
import { type Measured, measure } from "../../native/manifest-file.ts";
import { YamlFileError } from "../../native/strict-yaml.ts";
import { type Control, pages, requestId } from "../client.ts";
import { EXIT, Failure } from "../failure.ts";
import { listOrganisms } from "./organism.ts";
import type { Outlet } from "./proposal.ts";
import { revoke } from "./revocation.ts";

export interface RecordedManifest extends Measured {
  /** Microseconds since the epoch. */
  readonly recordedAtUs: number;
  /** Epoch of the revocation that retired it; 0: in force. */
  readonly retiredEpoch: number;
}

/** An identity that came aboard, in the order in which they did. */
export interface Docking {
  readonly atUs: number;
  readonly instanceId: string;
  readonly manifest: RecordedManifest;
  /** The newest version of this agent that had docked before, where this one is older; else null. */
  readonly rollbackFrom: RecordedManifest | null;
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
    if (!(error instanceof YamlFileError) && syscall === undefined) throw error;
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
    all.push(...page.manifests.map(recorded));
  }
  return all;
}

/**
 * Which versions docked when, oldest first. One that was recorded before another of its name which
 * has docked already is a rollback: it may be meant, and it should be seen.
 *
 * @param recorded as `listManifests` gives them: in the order of their recording
 */
export async function dockingOrder(
  control: Control,
  recorded: readonly RecordedManifest[],
): Promise<Docking[]> {
  const place = new Map(recorded.map((m, at) => [toHex(m.hash), at]));
  const newest = new Map<string, number>();
  const organisms = await listOrganisms(control);
  return organisms
    .sort((a, b) => a.dockedAtUs - b.dockedAtUs)
    .flatMap(({ manifestHash: hash, instanceId, dockedAtUs }) => {
      const at = place.get(hash);
      const manifest = at === undefined ? undefined : recorded[at];
      // Recorded after the list was read.
      if (at === undefined || manifest === undefined) return [];
      const { name } = manifest.manifest;
      const before = newest.get(name) ?? -1;
      newest.set(name, Math.max(at, before));
      const rollbackFrom = before > at ? (recorded[before] ?? null) : null;
      return [{ atUs: dockedAtUs, instanceId, manifest, rollbackFrom }];
    });
}

/** Retires a recorded manifest for good: no new docks, no leases. Signed with operators' grant keys. */
export function retireManifest(
  control: Control,
  signers: readonly Signer[],
  { hash, reason }: { readonly hash: Uint8Array; readonly reason: string },
  outlet?: Outlet,
): Promise<{ readonly epoch: number }> {
  return revoke(control, signers, { kind: "MANIFEST", target: hash, reason }, outlet);
}

/** Drafts a `dragon.yaml` for a folder. What is drafted can be measured. @throws Failure if not. */
export async function draftFor(
  folder: string,
  what: { readonly name?: string; readonly runtime: string },
): Promise<string> {
  try {
    const text = await draftFromFolder(folder, what);
    await measure(folder, text);
    return text;
  } catch (error) {
    if (!(error instanceof YamlFileError)) throw error;
    throw new Failure(EXIT.config, `manifest: ${folder} cannot be drafted: ${error.message}`);
  }
}

/** As `findManifest`; a file that is there is measured without asking anybody. */
export async function eitherManifest(control: () => Promise<Control>, name: string) {
  return (await exists(name)) ? measureFile(name) : findManifest(await control(), name);
}

/**
 * The manifest meant by a hash, the beginning of one, a label (`reconciler@v7`: the one recorded last)
 * or the path of a `dragon.yaml`, which is measured now.
 */
export async function findManifest(
  control: Control,
  name: string,
): Promise<Measured | RecordedManifest> {
  if (/^[0-9a-f]{64}$/.test(name)) {
    const found = await control.manifests.getManifest({ manifestHash: fromHex(name) });
    return recorded(found);
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

function recorded(found: {
  readonly manifest: Uint8Array;
  readonly recordedAtUs: bigint;
  readonly retiredEpoch: bigint;
}): RecordedManifest {
  return {
    ...read(found.manifest),
    recordedAtUs: Number(found.recordedAtUs),
    retiredEpoch: Number(found.retiredEpoch),
  };
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
