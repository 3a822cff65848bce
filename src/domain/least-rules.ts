import type { Claim } from "./claim.ts";
import { alternativesMax, patternMax, starFrom, starFromAtRoot } from "./limits.ts";
import { compilePattern } from "./pattern.ts";
import { type Rule, ruleProblem } from "./rule.ts";

/** What was asked for, without what conditions read of it. */
export type Action = Pick<Claim, "protocol" | "target" | "verb" | "path" | "scheme">;

/** An action, and how often it was seen. */
export interface Seen {
  readonly action: Action;
  readonly count: number;
}

/** A rule drafted from what was seen. */
export interface LeastRule {
  readonly rule: Rule;
  /** How many of the actions seen it allows. */
  readonly count: number;
  /** Paths of theirs that differ, each of them allowed by it. Sorted. */
  readonly paths: readonly string[];
}

export interface LeastRules {
  readonly rules: readonly LeastRule[];
  /** What no rule can be written for, and why. */
  readonly unwritten: readonly (Seen & { readonly why: string })[];
}

/**
 * The least rules that allow all of what was seen, one place and method at a time.
 *
 * - Hosts, methods and, for gRPC and MCP, names stand as they are, several as `{a,b}`: nothing is guessed.
 * - In a path, a segment that is an id by its look (a number, a UUID, a digest, a date; also behind a
 *   prefix, `cus_…`, or before an ending, `….json`) is `*`.
 * - Where paths differ in one segment alone, in `starFrom` ways or more, it is `*` as well: behind the
 *   root, where whole sites lie side by side, only from `starFromAtRoot` on.
 *
 * @param exact places at which no star is written
 */
export function leastRules(
  seen: readonly Seen[],
  exact: (place: Action) => boolean = () => false,
): LeastRules {
  const places = new Map<string, { place: Action; counts: Map<string, number> }>();
  for (const { action, count } of seen) {
    const { protocol, target, scheme, verb, path } = action;
    const name = JSON.stringify([protocol, target, scheme, verb]);
    const held = places.get(name) ?? { place: action, counts: new Map<string, number>() };
    held.counts.set(path, (held.counts.get(path) ?? 0) + count);
    places.set(name, held);
  }
  const rules: LeastRule[] = [];
  const unwritten: (Seen & { why: string })[] = [];
  for (const { place, counts } of places.values()) {
    const ruleFor = (path: string): Rule => ({ ...bare(place), path, when: "" });
    const plain: string[] = [];
    for (const [path, count] of counts) {
      const why = spelling(path) ?? ruleProblem(ruleFor(path));
      if (why === null) plain.push(path);
      else unwritten.push({ action: { ...place, path }, count, why });
    }
    const covered = exact(place)
      ? plain.map((path) => ({ pattern: path, paths: [path] }))
      : patternsOf(place, plain);
    for (const { pattern, paths } of covered) {
      const count = paths.reduce((sum, path) => sum + (counts.get(path) ?? 0), 0);
      rules.push({ rule: ruleFor(pattern), count, paths: [...paths].sort() });
    }
  }
  return { rules, unwritten };
}

const bare = ({ protocol, target, verb, scheme }: Action) => ({ protocol, target, verb, scheme });

/** Patterns have no escape. */
const spelling = (path: string): string | null =>
  /[*{},]/.test(path) ? "has a path with a character that means something in a rule" : null;

interface Covered {
  readonly pattern: string;
  readonly paths: readonly string[];
}

function patternsOf({ protocol }: Action, paths: readonly string[]): readonly Covered[] {
  if (protocol === "HTTP") return starred(paths);
  if (protocol !== "GRPC") return eitherOf("", paths);
  const services = Map.groupBy(paths, (path) => path.slice(0, path.indexOf("/", 1) + 1));
  return [...services].flatMap(([service, all]) => eitherOf(service, all));
}

/** `{Get,List}` behind what all of them begin with; as many patterns as that takes. */
function eitherOf(prefix: string, paths: readonly string[]): readonly Covered[] {
  const made: string[][] = [];
  for (const path of [...paths].sort()) {
    const last = made.at(-1);
    const grown = last === undefined ? null : either(prefix, [...last, path]);
    if (last !== undefined && grown !== null) last.push(path);
    else made.push([path]);
  }
  return made.map((all) => ({ pattern: either(prefix, all) as string, paths: all }));
}

function either(prefix: string, paths: readonly string[]): string | null {
  const [one = ""] = paths;
  if (paths.length === 1) return one;
  const rest = paths.map((path) => path.slice(prefix.length));
  const pattern = `${prefix}{${rest.join(",")}}`;
  const fits = paths.length <= alternativesMax && pattern.length <= patternMax;
  return fits && !rest.includes("") ? pattern : null;
}

/** Paths with a star for each segment that is one of many. */
function starred(paths: readonly string[]): readonly Covered[] {
  let shapes = new Map<string, string[]>();
  for (const path of paths) {
    add(shapes, path.split("/").map(starOf).join("/"), [path]);
  }
  const depth = Math.max(0, ...[...shapes.keys()].map((shape) => shape.split("/").length));
  // The deepest first: many entries of each of a few lists are those lists.
  for (let at = depth - 1; at >= 1; at--) shapes = manyAsOne(shapes, at);
  return [...shapes].map(([pattern, all]) => ({ pattern, paths: all }));
}

function add(shapes: Map<string, string[]>, shape: string, paths: readonly string[]): void {
  const pattern = compilePattern(shape);
  const fits = (path: string): boolean => typeof pattern !== "string" && pattern.matches(path);
  for (const path of paths) {
    // What a star does not stand for, such as an escaped slash, stays as it is.
    const name = fits(path) ? shape : path;
    shapes.set(name, [...(shapes.get(name) ?? []), path]);
  }
}

/** Shapes that differ in this segment alone become one, if there are many. */
function manyAsOne(shapes: Map<string, string[]>, at: number): Map<string, string[]> {
  const least = at === 1 ? starFromAtRoot : starFrom;
  const alike = Map.groupBy(shapes.keys(), (shape) => {
    const segments = shape.split("/");
    // A list and what lies in it are not of a kind: `/orders` and `/orders/`.
    return segments.length <= at || segments[at] === "" ? shape : segments.with(at, "*").join("/");
  });
  const next = new Map<string, string[]>();
  for (const [one, all] of alike) {
    const asOne = all.length >= least || all.includes(one);
    for (const shape of all) add(next, asOne ? one : shape, shapes.get(shape) ?? []);
  }
  return next;
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const DATE = /^[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?$/;
const NUMBER = /^[0-9]+$/;

/** `*` for what looks like an id; every other segment as it is. */
function starOf(segment: string): string {
  if (isId(segment)) return "*";
  const [, prefix = "", rest = ""] = /^([a-z]{2,12}[_-])(.+)$/.exec(segment) ?? [];
  if (isId(rest) || isToken(rest, 8)) return `${prefix}*`;
  const [, stem = "", ending = ""] = /^(.+)(\.[a-z0-9]{1,5})$/.exec(segment) ?? [];
  return isId(stem) ? `*${ending}` : segment;
}

const isId = (text: string): boolean =>
  NUMBER.test(text) ||
  UUID.test(text) ||
  DATE.test(text) ||
  (/^[0-9a-f]{8,}$/i.test(text) && /[0-9]/.test(text)) ||
  isToken(text, 16);

/** Letters and digits without a word in them that people would read: three digits or more among them. */
const isToken = (text: string, least: number): boolean =>
  text.length >= least &&
  /^[A-Za-z0-9]+$/.test(text) &&
  /[A-Za-z]/.test(text) &&
  text.replace(/[^0-9]/g, "").length >= 3;
