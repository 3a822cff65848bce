import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { toHex } from "../../src/domain/bytes.ts";
import { isInvalid } from "../../src/domain/invalid.ts";
import { parseWitnessKey, type Witness } from "../../src/domain/witness.ts";
import { native } from "../../src/native/crypto.ts";

/** The witness in Python, as a process of its own on loopback. */
export interface RunningWitness extends Witness {
  readonly vkey: string;
  /** Has it take checkpoints of an origin that this key signs. */
  configure(origin: string, key: Uint8Array): Promise<void>;
  /** The last note that it cosigned, by its monitoring prefix; null: none. */
  latest(origin: string): Promise<string | null>;
  close(): Promise<void>;
}

export async function startWitness(name: string, seed: Uint8Array): Promise<RunningWitness> {
  const program = join(import.meta.dirname, "witness.py");
  const child = spawn("python3", [program, name, toHex(seed)], {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1" },
  });
  const ended = new Promise<void>((done) => child.once("exit", () => done()));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const first = await lines.next();
  if (first.done) throw new Error("the witness said nothing");
  const { port, vkey } = JSON.parse(first.value) as { port: number; vkey: string };
  const parsed = parseWitnessKey(native, vkey);
  if (isInvalid(parsed)) throw new Error(parsed.detail);
  const url = `http://127.0.0.1:${port}/witness`;
  return {
    name: parsed.name,
    key: parsed.key,
    url,
    vkey,
    async configure(origin, key) {
      child.stdin.write(`${JSON.stringify({ origin, key: toHex(key) })}\n`);
      await lines.next();
    },
    async latest(origin) {
      const hash = toHex(native.sha256(Buffer.from(origin)));
      const response = await fetch(`${url}/${hash}/checkpoint`);
      return response.ok ? response.text() : null;
    },
    async close() {
      child.stdin.end();
      await ended;
    },
  };
}
