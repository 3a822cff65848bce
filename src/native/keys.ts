import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { link, open, readFile, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { inspect } from "node:util";
import { fromHex, toHex } from "../domain/bytes.ts";
import type { Signer } from "../domain/crypto.ts";
import { externalSignerMsMax } from "../domain/limits.ts";
import { native, signerOf } from "./crypto.ts";

/** A seed file is one line: the 32-byte seed in lower-case hex. */
const SEED_FILE = /^[0-9a-f]{64}\n?$/;

const REDACTED = "Seed(redacted)";

/** 32 secret bytes that print as nothing but their name. */
export class Seed {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    if (bytes.length !== 32) throw new TypeError("a seed is 32 bytes");
    this.#bytes = Uint8Array.from(bytes);
  }

  /** The secret itself. Say why wherever this is called. */
  reveal(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  toString(): string {
    return REDACTED;
  }

  toJSON(): string {
    return REDACTED;
  }

  [inspect.custom](): string {
    return REDACTED;
  }
}

/** A key file or an external signer that cannot be used as it is. The message says what to do. */
export class KeyError extends Error {
  override readonly name = "KeyError";
}

export const generateSeed = (): Seed => new Seed(randomBytes(32));

/** Signs in this process. The seed stays inside the closure, so that no print of it shows it. */
export function seedSigner(seed: Seed | Uint8Array): Signer {
  const bytes = seed instanceof Seed ? seed.reveal() : new Seed(seed).reveal();
  const sign = signerOf(bytes);
  return { publicKey: native.publicKey(bytes), sign: async (message) => sign(message) };
}

/** @throws KeyError when the file is missing, open to others, or not a seed. */
export const fileSigner = async (path: string): Promise<Signer> =>
  seedSigner(await readSeedFile(path));

/** @throws KeyError when the file is missing, open to others, or not a seed. */
export async function readSeedFile(path: string): Promise<Seed> {
  const file = await open(path, "r").catch((error: NodeJS.ErrnoException) => {
    throw new KeyError(`key file ${path} cannot be read: ${error.code ?? error.message}`);
  });
  try {
    // Judged on the open handle: what is checked is what is read.
    const { mode } = await file.stat();
    if ((mode & 0o077) !== 0) {
      const octal = (mode & 0o777).toString(8).padStart(4, "0");
      throw new KeyError(
        `key file ${path} is open to others (mode ${octal}); fix it with: chmod 600 ${path}`,
      );
    }
    const content = await file.readFile("utf8");
    if (!SEED_FILE.test(content)) {
      throw new KeyError(`key file ${path} is not 64 lower-case hex digits`);
    }
    return new Seed(fromHex(content.slice(0, 64)));
  } finally {
    await file.close();
  }
}

/**
 * Writes a seed file with mode 0600, whole or not at all, and durable when this resolves. An
 * existing file is never replaced: a key once lost stays lost.
 * @throws KeyError when the path exists already.
 */
export async function writeSeedFile(path: string, seed: Seed): Promise<void> {
  const partial = `${path}.${toHex(randomBytes(8))}.tmp`;
  try {
    const file = await open(partial, "wx", 0o600);
    try {
      await file.writeFile(`${toHex(seed.reveal())}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    // A link, not a rename: it gives the whole file its name at once, and takes no name in use.
    await link(partial, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
      throw new KeyError(`key file ${path} exists; it is not replaced`);
    });
  } finally {
    await rm(partial, { force: true });
  }
  const folder = await open(dirname(path), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/**
 * A key that lives elsewhere: `argv` is started once a signature (no shell), gets the PAE bytes on
 * stdin, and writes the 64 raw signature bytes to stdout within `msMax` milliseconds. What it answers
 * is verified before use. No secret is given to it: how it reaches the key is its own affair.
 */
export function commandSigner(
  argv: readonly [string, ...string[]],
  publicKey: Uint8Array,
  msMax: number = externalSignerMsMax,
): Signer {
  return {
    publicKey,
    async sign(message) {
      const signature = await runSigner(argv, message, msMax);
      if (!native.verify(publicKey, message, signature)) {
        throw new KeyError(
          `signer ${argv[0]} answered ${signature.length} bytes that are no signature by ${toHex(publicKey)}: ` +
            "it must write the 64 raw bytes of Ed25519 over its stdin, by that key, and nothing else",
        );
      }
      return signature;
    },
  };
}

/**
 * A file that names such a command, for a process that signs by itself:
 * `{"publicKey": "<64 hex digits>", "command": ["/usr/bin/kms-sign", "--key", "issuer"]}`.
 * @throws KeyError when it is missing, may be changed by others, or is not that.
 */
export async function commandFileSigner(path: string): Promise<Signer> {
  const source = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new KeyError(`signer file ${path} cannot be read: ${error.code ?? error.message}`);
  });
  const { mode } = await stat(path);
  if ((mode & 0o022) !== 0) {
    throw new KeyError(
      `signer file ${path} may be changed by others; fix it with: chmod 600 ${path}`,
    );
  }
  const said = parsedCommand(source);
  if (said !== null && native.keyProblem(said.publicKey) === null) {
    return commandSigner(said.command, said.publicKey);
  }
  throw new KeyError(
    `signer file ${path} is not {"publicKey": "<64 hex digits>", "command": ["/path/to/command", …]}`,
  );
}

function parsedCommand(
  source: string,
): { readonly publicKey: Uint8Array; readonly command: [string, ...string[]] } | null {
  let json: unknown;
  try {
    json = JSON.parse(source);
  } catch {
    return null;
  }
  const { publicKey, command, ...more } = (json ?? {}) as Record<string, unknown>;
  const isKey = typeof publicKey === "string" && /^[0-9a-f]{64}$/.test(publicKey);
  const words = Array.isArray(command) ? command : [];
  const isWords = words.length > 0 && words.every((w) => typeof w === "string" && w !== "");
  if (!isKey || !isWords || Object.keys(more).length > 0) return null;
  return { publicKey: fromHex(publicKey), command: words as [string, ...string[]] };
}

function runSigner(
  argv: readonly [string, ...string[]],
  message: Uint8Array,
  msMax: number,
): Promise<Uint8Array> {
  const [command, ...args] = argv;
  return new Promise((resolve, reject) => {
    // A group of its own, so that whatever it started ends with it.
    const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"], detached: true });
    const timer = setTimeout(() => {
      if (child.pid !== undefined) endGroup(child.pid);
      child.stdout.destroy();
      reject(
        new KeyError(
          `signer ${command} took longer than ${msMax / 1000} s and was ended: see that it answers by ` +
            "itself (is its KMS reachable, does it wait for a person?), and try again",
        ),
      );
    }, msMax);
    const out: Buffer[] = [];
    let length = 0;
    child.stdout.on("data", (chunk: Buffer) => {
      length += chunk.length;
      // One byte too many is already wrong; the rest need not be kept.
      if (length <= 65) out.push(chunk);
    });
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(
        new KeyError(
          `signer ${command} cannot be started: ${error.message}; give the path of a program that may be executed`,
        ),
      );
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve(new Uint8Array(Buffer.concat(out)));
      else {
        const how = signal ?? `exit ${code}`;
        reject(
          new KeyError(
            `signer ${command} failed (${how}); it must exit with 0, see what it said above`,
          ),
        );
      }
    });
    // A signer that does not read its input says so by its exit code, not by our EPIPE.
    child.stdin.on("error", () => {});
    child.stdin.end(message);
  });
}

function endGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It ended just now.
  }
}
