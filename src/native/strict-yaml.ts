import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from "yaml";

export type { Node } from "yaml";

/** Something in a file that people write, or in what it names, that they have to put right. */
export class YamlFileError extends Error {
  override readonly name = "YamlFileError";
  /** From 1; 0: no line in particular. */
  readonly line: number;
  constructor(line: number, detail: string) {
    super(line === 0 ? detail : `line ${line}: ${detail}`);
    this.line = line;
  }
}

/** @throws YamlFileError with the line and what is wrong there. */
export function readYaml(
  text: string,
  bytesMax: number,
): { readonly document: Node | null; readonly lines: LineCounter } {
  if (new TextEncoder().encode(text).length > bytesMax) {
    throw new YamlFileError(0, `is longer than ${bytesMax} bytes`);
  }
  const lines = new LineCounter();
  // The failsafe schema has no numbers, booleans or nulls: `version: 1.10` is the text 1.10.
  const document = parseDocument(text, { lineCounter: lines, schema: "failsafe", merge: false });
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) {
    const [sentence] = problem.message.split(/ at line |\n/);
    throw new YamlFileError(lines.linePos(problem.pos[0]).line, sentence as string);
  }
  return { document: document.contents, lines };
}

/** Reads nodes strictly: every value is text, keys are known and stand once, nothing is an alias or a tag. */
export class YamlReader {
  readonly #lines: LineCounter;
  constructor(lines: LineCounter) {
    this.#lines = lines;
  }

  fail(node: Node | null, detail: string): never {
    throw new YamlFileError(this.line(node), detail);
  }

  line(node: Node | null): number {
    const at = node?.range?.[0];
    return at === undefined ? 0 : this.#lines.linePos(at).line;
  }

  #plain(node: Node | null): void {
    if (isAlias(node)) this.fail(node, "has an alias (*name); write the value out");
    if (node?.tag !== undefined && !node.tag.startsWith("tag:yaml.org,2002:")) {
      this.fail(node, `has the tag ${node.tag}; write the value without`);
    }
    if (node !== null && "anchor" in node && node.anchor !== undefined) {
      this.fail(node, `has the anchor &${node.anchor}; write the value without`);
    }
  }

  text(node: Node, what: string): string {
    this.#plain(node);
    if (!isScalar(node) || typeof node.value !== "string") this.fail(node, `${what} is not text`);
    return node.value as string;
  }

  list(node: Node, what: string): Node[] {
    this.#plain(node);
    if (!isSeq(node)) this.fail(node, `${what} is not a list; write ${what}: [${example(what)}]`);
    return node.items as Node[];
  }

  /** `known` empty: any key. */
  map(node: Node | null, what: string, known: readonly string[]): Map<string, Node> {
    this.#plain(node);
    if (!isMap(node)) this.fail(node, `${what} is not a mapping of keys to values`);
    const found = new Map<string, Node>();
    for (const { key, value } of node.items as { key: Node; value: Node | null }[]) {
      const name = this.text(key, "a key");
      if (known.length > 0 && !known.includes(name)) {
        this.fail(key, `${what} has the unknown key \`${name}\`; ${advice(name, known)}`);
      }
      if (value === null) this.fail(key, `\`${name}\` has no value`);
      found.set(name, value);
    }
    return found;
  }
}

const EXAMPLES = new Map([
  ["code", "agent/**/*.py"],
  ["config", "config.yaml"],
  ["listens", "read:events"],
]);
const example = (what: string): string => EXAMPLES.get(what) ?? "…";

/** `did you mean capabilities?` where one known key is near, else all of them. */
function advice(name: string, known: readonly string[]): string {
  const near = known.find((k) => distance(name.toLowerCase(), k) <= 2);
  return near === undefined ? `known are ${known.join(", ")}` : `did you mean \`${near}\`?`;
}

/** Levenshtein's; names are short, and longer ones are near to nothing. */
function distance(a: string, b: string): number {
  if (a.length > 32) return a.length;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
