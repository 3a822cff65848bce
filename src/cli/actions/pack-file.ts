import { randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { toHex } from "../../domain/bytes.ts";
import { EXIT, Failure } from "../failure.ts";

const readBytes = 256 * 1024;
const writeBytes = 256 * 1024;

/** A file's bytes, in order. */
export async function* bytesOf(path: string): AsyncGenerator<Uint8Array> {
  for await (const chunk of createReadStream(path, { highWaterMark: readBytes })) {
    const part = chunk as Buffer;
    yield new Uint8Array(part.buffer, part.byteOffset, part.length);
  }
}

/** Writes a new file, durable when this resolves. Returns its size in bytes. */
export async function writeStream(path: string, parts: AsyncIterable<Uint8Array>): Promise<number> {
  const file = await open(path, "wx", 0o644);
  let bytes = 0;
  let held: Uint8Array[] = [];
  let size = 0;
  const flush = async () => {
    await file.writeFile(Buffer.concat(held));
    held = [];
    size = 0;
  };
  try {
    for await (const part of parts) {
      held.push(part);
      size += part.length;
      bytes += part.length;
      if (size >= writeBytes) await flush();
    }
    if (size > 0) await flush();
    await file.sync();
  } finally {
    await file.close();
  }
  return bytes;
}

/** Files beside the one that is to be: `name` gives the path of one. */
export type Aside = (name: string) => string;

/**
 * Makes a file that is there whole or not at all: `make` writes it aside, and names what is to take its place.
 * Whatever else was written aside is gone afterwards.
 * @throws Failure, usage, when it cannot be written there.
 */
export async function made<T>(
  out: string,
  make: (aside: Aside) => Promise<{ readonly path: string; readonly result: T }>,
): Promise<T> {
  const mark = toHex(randomBytes(6));
  const paths = new Set<string>();
  const aside: Aside = (name) => {
    const path = join(dirname(out), `.${basename(out)}.${mark}.${name}`);
    paths.add(path);
    return path;
  };
  try {
    const { path, result } = await make(aside);
    await rename(path, out);
    return result;
  } catch (error) {
    const { syscall, message } = error as NodeJS.ErrnoException;
    throw syscall === undefined ? error : new Failure(EXIT.usage, `--out: ${message}`);
  } finally {
    for (const path of paths) await rm(path, { force: true }).catch(() => {});
  }
}
