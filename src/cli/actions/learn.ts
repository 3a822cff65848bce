import { join } from "node:path";
import { actionText } from "../../domain/action-text.ts";
import type { Seen } from "../../domain/least-rules.ts";
import { capabilitiesOf, type Lesson, lessonOf, type Taught } from "../../domain/lesson.ts";
import { DRAFT, type Manifest } from "../../domain/manifest.ts";
import { isPrintable } from "../../domain/printable.ts";
import { ReceiptHeader } from "../../domain/receipt.ts";
import { ruleLines } from "../../domain/remedy.ts";
import { SignedBytes } from "../../domain/signed.ts";
import { native } from "../../native/crypto.ts";
import { renderDraft } from "../../native/manifest-draft.ts";
import type { ManifestText } from "../../native/manifest-yaml.ts";
import { openLedgerStore } from "../../storage/ledger-folder.ts";
import type { ReceiptRow } from "../../storage/ledger-store.ts";
import { isBroken } from "../../verifier/checks.ts";
import { openPayload, readContents } from "../../verifier/payload.ts";
import { EXIT, Failure } from "../failure.ts";
import { plural, showRule } from "../units.ts";

/** Receipts read at once. */
const PAGE = 256;

/**
 * What the ledger in a sidecar's data folder teaches. The sidecar has ended.
 * @throws StorageFailed when the ledger cannot be read, Failure when it is not what was committed to.
 */
export async function readLesson(data: string, manifest: Manifest): Promise<Lesson> {
  const store = await openLedgerStore(join(data, "ledger"));
  function* all(): Generator<Taught> {
    let from = 1;
    for (;;) {
      const page = store.receipts(from, PAGE);
      yield* page.map(taughtBy);
      if (page.length < PAGE) return;
      from += page.length;
    }
  }
  try {
    return lessonOf(manifest, all());
  } finally {
    await store.close();
  }
}

function taughtBy({ signed, row }: ReceiptRow): Taught {
  const header = ReceiptHeader.decode(SignedBytes.decode(signed).body);
  const opened = openPayload(native, header, row);
  const contents = isBroken(opened) ? opened : readContents(header, opened);
  if (!isBroken(contents)) return { header, claim: contents.claim };
  throw new Failure(
    EXIT.refused,
    `receipt ${header.receiptId}: ${contents.detail} (${contents.code})`,
  );
}

/**
 * `dragon.yaml` as the lesson has it: each rule under how often it was seen, and below what was not
 * written, and why.
 *
 * @param text the manifest that the agent ran by: its name, files and version stay
 */
export function lessonText(text: ManifestText, lesson: Lesson): string {
  const capabilities = capabilitiesOf(lesson);
  const lines = capabilities.flatMap(({ name }) => [
    `  ${name}:`,
    ...lesson.kept
      .filter((k) => k.scope === name)
      .flatMap((k) => [`    # as it was written; seen ${times(k.count)}`, ...ruleLines(k.rule)]),
    ...lesson.learnt
      .filter((l) => l.scope === name)
      .flatMap((l) => [`    # seen ${times(l.count)}${starred(l)}`, ...ruleLines(l.rule)]),
  ]);
  const stays = (scope: string): boolean => capabilities.some(({ name }) => name === scope);
  const unheard = text.listens.filter((scope) => !stays(scope));
  const draft = renderDraft({
    name: text.name,
    agentVersion: text.agentVersion === DRAFT ? "v1" : text.agentVersion,
    runtime: text.runtime,
    code: text.code.map(({ glob }) => glob.source),
    config: text.config.map(({ glob }) => glob.source),
    capabilities,
    servers: text.servers,
    listens: text.listens.filter(stays),
    ...(lines.length === 0 ? {} : { lines }),
  });
  const listened = note("Merely listened to before, and not done in this run:", unheard);
  return [HEAD, draft, ...notes(lesson), listened].join("");
}

const HEAD = `# Learnt by dragons learn from what the agent did. Read every line before it is recorded: a star
# stands for more than was seen, and what was not done in this run is not allowed.
`;

const times = (count: number): string => plural(count, "time");

const starred = ({ rule, paths }: Lesson["learnt"][number]): string =>
  rule.path.includes("*")
    ? `, by ${plural(paths.length, "path")}: * stands for what differed, or for an id`
    : "";

/** What a lesson leaves out, a paragraph each, as comments. */
function notes({ idle, unmet, refused, unwritten }: Lesson): string[] {
  return [
    note(
      "Allowed before, and not done in this run:",
      idle.map(({ scope, rule }) => `${scope}: ${showRule(rule)}`),
    ),
    note(
      "Passed in this run, and not allowed: the condition of a rule did not hold.",
      unmet.map((s) => `${s.scope}: ${seenText(s)}`),
    ),
    note(
      "Not carried out in this run all the same, and not allowed:",
      refused.map((s) => `${seenText(s)}: ${s.reason}`),
    ),
    note(
      "Passed in this run, and no rule can say it:",
      unwritten.map((s) => `${seenText(s)} ${s.why}`),
    ),
  ];
}

const note = (head: string, lines: readonly string[]): string =>
  lines.length === 0 ? "" : `\n# ${head}\n${lines.map((l) => `#   ${plain(l)}\n`).join("")}`;

const seenText = ({ action, count }: Seen): string =>
  action.protocol === "UNSPECIFIED"
    ? `${times(count)}, what was asked for could not be read`
    : `${times(count)} ${action.protocol.toLowerCase()} ${actionText(action)}`;

/** What an agent asked for is nobody's to trust: not even to end a line. */
const plain = (text: string): string =>
  (isPrintable(text) ? text : text.replace(/[^\x20-\x7e]/g, "?")).slice(0, 300);
