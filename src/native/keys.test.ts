import { readFileSync } from "node:fs";
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { toHex, utf8 } from "../domain/bytes.ts";
import { native } from "./crypto.ts";
import {
  commandFileSigner,
  commandSigner,
  fileSigner,
  generateSeed,
  KeyError,
  readSeedFile,
  Seed,
  seedSigner,
  writeSeedFile,
} from "./keys.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "dragons-keys-"));
});
afterAll(() => rm(folder, { recursive: true }));

const MESSAGE = utf8("DSSEv1 …");

describe("a seed file", () => {
  test("is written for its owner alone, and signs when read again", async () => {
    const path = join(folder, "ledger.key");
    const seed = generateSeed();
    await writeSeedFile(path, seed);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const signer = await fileSigner(path);
    expect(signer.publicKey).toEqual(native.publicKey(seed.reveal()));
    expect(native.verify(signer.publicKey, MESSAGE, await signer.sign(MESSAGE))).toBe(true);
    expect((await readdir(folder)).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  test("is never replaced", async () => {
    const path = join(folder, "once.key");
    await writeSeedFile(path, generateSeed());
    const before = await readFile(path, "utf8");
    await expect(writeSeedFile(path, generateSeed())).rejects.toThrow(/exists; it is not replaced/);
    expect(await readFile(path, "utf8")).toBe(before);
    expect((await readdir(folder)).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });

  test.each([0o640, 0o604, 0o660, 0o610])(
    "of mode %o is refused, with the remedy",
    async (mode) => {
      const path = join(folder, `open-${mode}.key`);
      await writeSeedFile(path, generateSeed());
      await chmod(path, mode);
      const refused = fileSigner(path);
      await expect(refused).rejects.toThrow(KeyError);
      await expect(refused).rejects.toThrow(`chmod 600 ${path}`);
      await chmod(path, 0o400);
      await expect(fileSigner(path)).resolves.toBeDefined();
    },
  );

  test("that is missing or no seed is refused by name, without its content", async () => {
    await expect(fileSigner(join(folder, "none.key"))).rejects.toThrow(/none\.key.*ENOENT/);
    const path = join(folder, "torn.key");
    const secret = toHex(generateSeed().reveal()).slice(2);
    await writeFile(path, secret, { mode: 0o600 });
    const error = await readSeedFile(path).catch((e: unknown) => e as Error);
    expect(error).toBeInstanceOf(KeyError);
    expect(String(error)).toContain("torn.key");
    expect(String(error)).not.toContain(secret);
  });
});

test("who signs by a seed signs by the key that it names, in plain bytes", async () => {
  const seed = generateSeed();
  const signer = seedSigner(seed);
  const messages = Array.from({ length: 20 }, (_, n) => new Uint8Array(n * 50).fill(n));
  const signatures = await Promise.all(messages.map((m) => signer.sign(m)));
  expect(signatures).toEqual(messages.map((m) => native.sign(seed.reveal(), m)));
  expect(signatures.every((s) => s.constructor === Uint8Array)).toBe(true);
  expect(signer.publicKey).toEqual(native.publicKey(seed.reveal()));
});

test("a secret shows in no print of it", () => {
  const seed = generateSeed();
  const hex = toHex(seed.reveal());
  const signer = seedSigner(seed);
  const shown = [
    inspect({ seed, signer }, { showHidden: true, depth: 9 }),
    JSON.stringify({ seed, signer }),
    String(seed),
    inspect(new KeyError("x", { cause: seed })),
  ];
  const listed = seed.reveal().slice(0, 8).join(", ");
  for (const text of shown) {
    expect(text).not.toContain(hex.slice(0, 16));
    expect(text).not.toContain(listed);
  }
  expect(JSON.stringify(seed)).toBe('"Seed(redacted)"');
});

describe("a file that names a command", () => {
  const publicKey = toHex(native.publicKey(new Uint8Array(32).fill(7)));
  const written = async (content: string, mode = 0o600): Promise<string> => {
    const path = join(folder, `${mode}.signer`);
    await writeFile(path, content);
    await chmod(path, mode);
    return path;
  };

  test("gives a signer by the key that it states", async () => {
    const path = await written(JSON.stringify({ publicKey, command: ["/bin/true"] }));
    expect(toHex((await commandFileSigner(path)).publicKey)).toBe(publicKey);
  });

  test.each([
    "",
    "{}",
    JSON.stringify({ publicKey, command: [] }),
    JSON.stringify({ publicKey, command: "/bin/true" }),
    JSON.stringify({ publicKey: "00".repeat(32), command: ["/bin/true"] }),
    JSON.stringify({ publicKey, command: ["/bin/true"], seed: "aa" }),
  ])("is refused as %j", async (content) => {
    await expect(commandFileSigner(await written(content))).rejects.toThrow(/is not \{"publicKey"/);
  });

  test("is refused when others may write it, or it is not there", async () => {
    const path = await written(JSON.stringify({ publicKey, command: ["/bin/true"] }), 0o622);
    await expect(commandFileSigner(path)).rejects.toThrow(/chmod 600/);
    await expect(commandFileSigner(join(folder, "none"))).rejects.toThrow(/cannot be read/);
  });
});

/** The state letter of a process, Z for one that nobody has waited for; -: it is gone. */
function stateOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]?.[0] ?? "-";
  } catch {
    return "-";
  }
}

test("a seed is 32 bytes, and its owner's", () => {
  expect(() => new Seed(new Uint8Array(31))).toThrow(TypeError);
  const seed = new Seed(new Uint8Array(32).fill(1));
  seed.reveal().fill(0);
  expect(seed.reveal()).toEqual(new Uint8Array(32).fill(1));
});

describe("an external signer", () => {
  const seed = new Uint8Array(32).fill(7);
  const key = native.publicKey(seed);
  /** Signs what stands on stdin, as a KMS helper would. */
  const helper = `
    const { createPrivateKey, sign } = require("node:crypto");
    const der = Buffer.from("302e020100300506032b657004220420${toHex(seed)}", "hex");
    const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
    const input = require("node:fs").readFileSync(0);`;
  const run = (script: string) => commandSigner([process.execPath, "-e", helper + script], key);

  test("gets the message on stdin and answers with the raw signature", async () => {
    const signature = await run("process.stdout.write(sign(null, input, key))").sign(MESSAGE);
    expect(signature).toEqual(native.sign(seed, MESSAGE));
  });

  test.each([
    ["signs something else", "process.stdout.write(sign(null, Buffer.from('x'), key))"],
    ["answers too much", "process.stdout.write(Buffer.concat([sign(null, input, key), input]))"],
    ["answers nothing", ""],
  ])("that %s is not believed", async (_, script) => {
    await expect(run(script).sign(MESSAGE)).rejects.toThrow(/no signature by/);
  });

  test("that does not answer in time is ended with whatever it started, and says what to look at", async () => {
    const started = join(folder, "started");
    const hang = `
      const { spawn } = require("node:child_process");
      const stdio = ["ignore", "inherit", "inherit"];
      const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio });
      require("node:fs").writeFileSync(${JSON.stringify(started)}, String(child.pid));
      setInterval(() => {}, 1000);`;
    const slow = commandSigner([process.execPath, "-e", helper + hang], key, 3000);
    await expect(slow.sign(MESSAGE)).rejects.toThrow(
      /took longer than 3 s and was ended: see that/,
    );
    const pid = Number(await readFile(started, "utf8"));
    await vi.waitFor(() => expect(stateOf(pid)).toMatch(/^[Z-]$/), 5000);
  }, 15_000);

  test("is given its words and our environment, and nothing else", async () => {
    const told = join(folder, "told");
    const spill = `
      const said = JSON.stringify([process.argv.slice(1), process.env]);
      require("node:fs").writeFileSync(${JSON.stringify(told)}, said);
      process.stdout.write(sign(null, input, key));`;
    await commandSigner([process.execPath, "-e", helper + spill, "--", "word"], key).sign(MESSAGE);
    const [argv, env] = JSON.parse(await readFile(told, "utf8"));
    expect(argv).toEqual(["word"]);
    expect(env).toEqual({ ...process.env });
  });

  test("that fails, or is not there, says so", async () => {
    await expect(run("process.exit(3)").sign(MESSAGE)).rejects.toThrow(/failed \(exit 3\)/);
    const absent = commandSigner([join(folder, "absent")], key);
    await expect(absent.sign(MESSAGE)).rejects.toThrow(/cannot be started/);
  });
});
