/**
 * Globs of `dragon.yaml`, one meaning on every platform: `**` is any number of folders, also none;
 * `*` any run of characters within one name, `?` one of them, `{a,b}` either; everything else itself.
 * Names that begin with a dot are names like any other.
 */
export interface Glob {
  readonly source: string;
  /** Whether a file's path, its names between `/`, is meant. */
  matches(names: readonly string[]): boolean;
  /** Whether a path beneath this folder could be meant. */
  reaches(names: readonly string[]): boolean;
}

const ANY_FOLDERS = Symbol("**");
const RUN = Symbol("*");
const ONE = Symbol("?");
type Token = string | typeof RUN | typeof ONE | readonly string[];
type Segment = typeof ANY_FOLDERS | readonly Token[];

/** Compiles a glob, or tells what is wrong with it. */
export function compileGlob(source: string): Glob | string {
  if (source === "") return "is empty";
  if (source.includes("\\")) return "has a backslash; folders are separated by /";
  const segments: Segment[] = [];
  for (const name of source.split("/")) {
    if (name === "") return "begins or ends with /, or has //; write it relative to the manifest";
    if (name === "." || name === "..") return `has the segment ${name}; write it without`;
    const segment = name === "**" ? ANY_FOLDERS : tokenise(name);
    if (typeof segment === "string") return segment;
    segments.push(segment);
  }
  if (segments.at(-1) === ANY_FOLDERS) segments.push([RUN]);
  return {
    source,
    matches: (names) => walk(segments, names).has(segments.length),
    reaches: (names) => [...walk(segments, names)].some((at) => at < segments.length),
  };
}

function tokenise(name: string): Token[] | string {
  if (name.includes("**")) return "has ** beside other characters; it stands for whole folders";
  const tokens: Token[] = [];
  for (const part of name.match(/\{[^}]*\}?|[*?}]|[^*?{}]+/g) ?? []) {
    if (part === "*") tokens.push(RUN);
    else if (part === "?") tokens.push(ONE);
    else if (part === "}") return "has } without {";
    else if (part.startsWith("{")) {
      if (!part.endsWith("}")) return "has { without }, or a / inside {…}";
      const choices = part.slice(1, -1).split(",");
      if (choices.some((c) => c === "" || /[{*?]/.test(c))) {
        return "has an empty or nested alternative in {…}; only plain text stands there";
      }
      tokens.push(choices);
    } else tokens.push(part);
  }
  return tokens;
}

/** The segments that may come next after these names; the number of segments: all are used up. */
function walk(segments: readonly Segment[], names: readonly string[]): Set<number> {
  let states = expand(segments, [0]);
  for (const name of names) {
    const next: number[] = [];
    for (const at of states) {
      const segment = segments[at];
      if (segment === ANY_FOLDERS) next.push(at);
      else if (segment !== undefined && matchesName(segment, name)) next.push(at + 1);
    }
    states = expand(segments, next);
  }
  return states;
}

/** `**` may also stand for no folder at all. */
function expand(segments: readonly Segment[], states: readonly number[]): Set<number> {
  const all = new Set(states);
  for (const at of all) if (segments[at] === ANY_FOLDERS) all.add(at + 1);
  return all;
}

/** All ways at once, as in domain/pattern.ts: time is at most tokens × name. */
function matchesName(tokens: readonly Token[], name: string): boolean {
  let ends = new Set([0]);
  for (const token of tokens) {
    const next = new Set<number>();
    for (const at of ends) {
      if (token === RUN) for (let to = at; to <= name.length; to++) next.add(to);
      else if (token === ONE) {
        if (at < name.length) next.add(at + ((name.codePointAt(at) as number) > 0xffff ? 2 : 1));
      } else {
        for (const text of typeof token === "string" ? [token] : (token as readonly string[])) {
          if (name.startsWith(text, at)) next.add(at + text.length);
        }
      }
    }
    ends = next;
  }
  return ends.has(name.length);
}
