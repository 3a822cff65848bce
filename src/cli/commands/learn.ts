import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline/promises";
import { NO_LIMITS } from "../../domain/grant.ts";
import { learnGrantUs, observeUsMax } from "../../domain/limits.ts";
import { manifestLabel } from "../../domain/manifest.ts";
import { diffManifests } from "../../domain/manifest-diff.ts";
import { type Measured, measure } from "../../native/manifest-file.ts";
import { parseManifestYaml } from "../../native/manifest-yaml.ts";
import { YamlFileError } from "../../native/strict-yaml.ts";
import { createGrant, revokeGrant } from "../actions/grant.ts";
import { openSigner } from "../actions/keys.ts";
import { lessonText, readLesson } from "../actions/learn.ts";
import { measureFile, recordManifest } from "../actions/manifest.ts";
import { Context } from "../context.ts";
import { explain } from "../explain.ts";
import { EXIT, Failure } from "../failure.ts";
import { say, table } from "../output.ts";
import { parseDuration, plural } from "../units.ts";
import { diffRows } from "./manifest.ts";
import { keeper, sealable, sidecar } from "./processes.ts";
import { board, manifestOf, parse, type Wanted } from "./run.ts";

const USAGE = `dragons learn [--out FILE] [--for TIME] [options of dragons run] -- CMD...

Runs an agent under a grant that merely observes: whatever it does passes, each receipt says what would
have been refused, and the grant ends with the run. Then writes the dragon.yaml that allows what was
done and no more, and shows what it changes. Ends as the agent does: its exit code is ours.

  --out FILE        where to write it  [dragon.yaml beside the agent, or dragon.learnt.yaml if there is one]
  --for TIME        how long the grant holds at most  [1h]
  --allow RULE      of an agent without a dragon.yaml; needed for addresses of this machine and its
                    networks, which pass only where a rule names them
  --yes             let everything pass without a question
`;

const FLAGS = { out: { type: "string" }, for: { type: "string" } } as const;

/** Runs an agent and writes down what it needs. Resolves with the agent's exit code. */
export async function learn(args: readonly string[]): Promise<number> {
  const { wanted, own } = parse("learn", args, FLAGS);
  if (wanted === null) {
    process.stdout.write(USAGE);
    return EXIT.ok;
  }
  if (wanted.sealed) {
    const refused = await sealable(process.cwd(), wanted.writable);
    if (refused !== null) return refused;
  }
  const forUs = own.for === undefined ? learnGrantUs : parseDuration(own.for, "--for");
  if (forUs > observeUsMax) {
    throw new Failure(EXIT.usage, "--for: a grant observes for 14 days at most");
  }
  const context = new Context({ profile: wanted.profile }, process.env);
  try {
    const under = await admit(context, wanted, forUs);
    const out = own.out === undefined ? freeFile(under.folder) : resolve(own.out);
    const code = await (wanted.sealed ? keeper : sidecar)(under.args);
    await giveBack(context, under.grantId);
    await write(under, out);
    if (code !== 0)
      say(`dragons: the agent ended with ${code}: what it did not come to is missing`);
    return code;
  } finally {
    context.close();
  }
}

/** Beside what is there, and never over it: what people wrote there is theirs. */
function freeFile(folder: string): string {
  const file = join(folder, "dragon.yaml");
  return existsSync(file) ? join(folder, "dragon.learnt.yaml") : file;
}

interface Learning {
  readonly file: string;
  readonly folder: string;
  readonly measured: Measured;
  readonly grantId: string;
  readonly data: string;
  readonly args: string[];
}

async function admit(context: Context, wanted: Wanted, forUs: number): Promise<Learning> {
  const control = await context.control();
  const { file, folder } = await manifestOf(wanted, context);
  const measured = await measureFile(file, folder);
  const label = manifestLabel(measured.manifest);
  if (!wanted.yes) await ask(label);
  await recordManifest(control, measured);
  const { manifest, hash } = measured;
  const grantKey = context.required("grantKey");
  const { grantId, ref: grantRef } = await createGrant(control, [await openSigner(grantKey)], {
    manifest,
    manifestHash: hash,
    scopes: manifest.capabilities.map(({ name }) => ({ name, limits: NO_LIMITS })),
    purpose: wanted.goal === "" ? `dragons learn ${manifest.name}` : wanted.goal,
    forUs,
    observeForUs: forUs,
    instancesMax: 1,
  });
  const boarded = await board(context, wanted, { file, folder, measured, grantRef });
  say(`dragons: ${label} learns: whatever it does passes until it ends, by grant ${grantId}`);
  return { file, folder, measured, grantId, ...boarded };
}

async function ask(label: string): Promise<void> {
  if (!process.stdin.isTTY) {
    throw new Failure(
      EXIT.notPermitted,
      "learning lets everything pass, and nobody is there to be asked; say --yes to let it",
    );
  }
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  const question = `dragons: let everything that ${label} does pass, and write it down? [y/N] `;
  const answer = await prompt.question(question);
  prompt.close();
  if (!/^y(?:es)?$/i.test(answer.trim())) {
    throw new Failure(EXIT.notPermitted, "not granted, so nothing was started");
  }
}

/** A grant that lets everything pass, and is of no use any more, is not to lie about. */
async function giveBack(context: Context, grantId: string): Promise<void> {
  const signers = [await openSigner(context.required("grantKey"))];
  const why = { grantId, reason: "what was to be learnt is learnt" };
  try {
    await revokeGrant(await context.control(), signers, why);
  } catch (error) {
    const failure = explain(error);
    if (failure === null) throw error;
    say(
      `dragons: the grant could not be taken back, and observes until it ends: ${failure.message}; type: ` +
        `dragons grant revoke ${grantId} --reason "${why.reason}"`,
    );
  }
}

async function write({ file, folder, measured, data }: Learning, out: string): Promise<void> {
  const lesson = await readLesson(data, measured.manifest);
  const text = lessonText(parseManifestYaml(await readFile(file, "utf8")), lesson);
  await writeFile(out, text);
  // Read back as anybody will read it.
  const learnt = await measure(folder, text).catch((error: unknown) => {
    if (!(error instanceof YamlFileError)) throw error;
    const found = `${out} says what was done, and cannot be recorded as it is: ${error.message}`;
    throw new Failure(EXIT.config, found);
  });
  const did = plural(lesson.actions, "action");
  say(`dragons: ${out} allows what was done in ${did}; to ${file} it changes`);
  const rows = diffRows(diffManifests(measured.manifest, learnt.manifest));
  say(rows.length === 0 ? "nothing" : table(rows.map((r) => r.cells)).join("\n"));
  const left = lesson.unmet.length + lesson.refused.length + lesson.unwritten.length;
  if (left > 0)
    say(
      `dragons: ${plural(left, "thing")} that it did ${left === 1 ? "is" : "are"} not allowed by it: see its end`,
    );
  say(`dragons: read it, give it a version, then: dragons manifest record ${out}`);
}
