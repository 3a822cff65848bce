import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { toHex } from "../../src/domain/bytes.ts";
import { native } from "../../src/native/crypto.ts";
import { once } from "../../src/verifier/pack.ts";
import type { Report } from "../../src/verifier/report.ts";
import { verify } from "../../src/verifier/verify.ts";
import { inShort, owed } from "../vectors/corpus.ts";
import { trustJson } from "../verifier/trust-json.ts";
import { type Given, randomCase } from "./cases.ts";
import { Random } from "./random.ts";

/** The second verifier, asked one pack after the other. */
class Second {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor() {
    this.#child = spawn("python3", ["-m", "dragons_verify", "--batch"], {
      cwd: join(import.meta.dirname, "../../verifiers/python"),
      env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1" },
      stdio: ["pipe", "pipe", "inherit"],
    });
    const output = this.#child.stdout;
    if (output === null) throw new Error("a pipe was asked for");
    this.#lines = createInterface({ input: output })[Symbol.asyncIterator]();
  }

  async ask({ pack, trust, nowUs }: Given): Promise<Report> {
    const asked = { pack: toHex(pack), trust: trust && trustJson(trust), nowUs };
    this.#child.stdin?.write(`${JSON.stringify(asked)}\n`);
    const line = await this.#lines.next();
    if (line.done) throw new Error("the second verifier ended");
    return JSON.parse(line.value) as Report;
  }

  close(): void {
    this.#child.stdin?.end();
  }
}

export interface Difference {
  readonly given: Given;
  readonly ours: string;
  readonly theirs: string;
}

export interface Found {
  readonly cases: number;
  /** How often each code, or verdict, came out. */
  readonly outcomes: ReadonlyMap<string, number>;
  /** null: none; the first one ends the search. */
  readonly difference: Difference | null;
}

/** Holds the two verifiers to each other on random packs, until they differ or `goesOn` says no. */
export async function fuzz(seed: number, goesOn: (cases: number) => boolean): Promise<Found> {
  const random = new Random(seed);
  const second = new Second();
  const outcomes = new Map<string, number>();
  let cases = 0;
  try {
    for (; goesOn(cases); cases++) {
      const given = await randomCase(random);
      const [report, theirs] = await Promise.all([
        verify(native, once(given.pack), { trust: given.trust, nowUs: given.nowUs }),
        second.ask(given),
      ]);
      const [a, b] = [owed(report), owed(theirs)];
      const outcome = a.broken?.code ?? a.verdict;
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      if (JSON.stringify(a) === JSON.stringify(b)) continue;
      const told = (o: typeof a, r: Report) =>
        `${inShort(o)} ${o.broken?.check ?? ""} ${r.broken?.detail ?? ""} ${JSON.stringify(o)}`;
      const difference = { given, ours: told(a, report), theirs: told(b, theirs) };
      return { cases: cases + 1, outcomes, difference };
    }
  } finally {
    second.close();
  }
  return { cases, outcomes, difference: null };
}

const USAGE = `usage: npm run fuzz -- [--seed N] [--seconds S]

Makes random evidence packs, honest and spoiled, and holds both verifiers to one verdict on each.
The same seed makes the same packs. Exit code 1: they differ; the pack is kept, and where is told.
`;

async function main(): Promise<number> {
  let values: { seed: string; seconds: string; help: boolean };
  try {
    ({ values } = parseArgs({
      options: {
        seed: { type: "string", default: `${Math.floor(Math.random() * 2 ** 32)}` },
        seconds: { type: "string", default: "60" },
        help: { type: "boolean", default: false },
      },
    }));
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${USAGE}`);
    return 64;
  }
  const [seed, seconds] = [Number(values.seed), Number(values.seconds)];
  if (values.help || !Number.isSafeInteger(seed) || !(seconds > 0)) {
    process.stderr.write(USAGE);
    return values.help ? 0 : 64;
  }
  const until = performance.now() + seconds * 1000;
  const { cases, outcomes, difference } = await fuzz(seed, () => performance.now() < until);
  for (const [outcome, count] of [...outcomes].sort((a, b) => b[1] - a[1])) {
    process.stdout.write(`${`${count}`.padStart(7)} ${outcome}\n`);
  }
  process.stdout.write(
    `seed ${seed}: ${cases} packs, ${difference ? "and they differ" : "no difference"}\n`,
  );
  if (difference === null) return 0;
  const { given, ours, theirs } = difference;
  const folder = await mkdtemp(join(tmpdir(), `dragons-fuzz-${seed}-`));
  await writeFile(join(folder, "pack.dragons"), given.pack);
  if (given.trust !== null) {
    await writeFile(join(folder, "trust.json"), JSON.stringify(trustJson(given.trust), null, 2));
  }
  process.stderr.write(
    `${given.how}, at ${given.nowUs}\n  here:   ${ours}\n  python: ${theirs}\nkept in ${folder}\n`,
  );
  return 1;
}

if (import.meta.main) process.exit(await main());
