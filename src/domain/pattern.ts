import { alternativesMax, patternMax } from "./limits.ts";

/**
 * Patterns of rules: `*` is any run of characters but `/` and its escape `%2F`, which some servers read
 * as one; `{a,b}` is either; everything else is itself. There is no escape and no nesting.
 */
export interface Pattern {
  readonly source: string;
  /** The characters before the first `*` or `{`: what comes without choice. */
  readonly prefix: string;
  matches(text: string): boolean;
}

export type Token = string | typeof STAR | readonly string[];
export const STAR = Symbol("*");

/** Compiles a pattern, or tells what is wrong with it. */
export function compilePattern(source: string): Pattern | string {
  if (source.length > patternMax) return `is longer than ${patternMax} characters`;
  if (!/^[\x21-\x7e]*$/.test(source)) return "has a character that is not visible ASCII";
  const tokens = tokenise(source);
  if (typeof tokens === "string") return tokens;
  const [first] = tokens;
  const prefix = typeof first === "string" ? first : "";
  if (tokens.length === 0 || (tokens.length === 1 && prefix !== "")) {
    return { source, prefix: source, matches: (text) => text === source };
  }
  const rest = tokens.slice(prefix === "" ? 0 : 1);
  if (rest.length === 1 && rest[0] === STAR) {
    const from = prefix.length;
    return {
      source,
      prefix,
      matches: (text) =>
        text.startsWith(prefix) && !text.includes("/", from) && !text.includes("%2F", from),
    };
  }
  return {
    source,
    prefix,
    matches: (text) => text.startsWith(prefix) && runs(rest, text, prefix.length),
  };
}

/** The parts of a pattern, or what is wrong with it. */
export function tokenise(source: string): Token[] | string {
  const tokens: Token[] = [];
  let at = 0;
  while (at < source.length) {
    const c = source[at];
    if (c === "*") {
      if (tokens.at(-1) === STAR) return "has `**`; one `*` is any run of characters but `/`";
      tokens.push(STAR);
      at++;
    } else if (c === "}") {
      return "has `}` without `{`";
    } else if (c === "{") {
      const end = source.indexOf("}", at);
      if (end < 0) return "has `{` without `}`";
      const inside = source.slice(at + 1, end);
      if (/[{*]/.test(inside)) return "has `{` or `*` inside `{…}`; only plain text stands there";
      const choices = inside.split(",");
      if (choices.includes("")) return "has an empty alternative in `{…}`";
      if (choices.length > alternativesMax) return `has more than ${alternativesMax} alternatives`;
      if (new Set(choices).size < choices.length) return "has the same alternative twice in `{…}`";
      tokens.push(choices);
      at = end + 1;
    } else {
      const end = source.slice(at).search(/[*{}]/);
      tokens.push(end < 0 ? source.slice(at) : source.slice(at, at + end));
      at = end < 0 ? source.length : at + end;
    }
  }
  return tokens;
}

const isSeparator = (text: string, at: number): boolean =>
  text[at] === "/" || text.startsWith("%2F", at);

/**
 * Follows all ways through the pattern at once: `reached` marks the places in the text that the
 * tokens so far can end at. Time is at most pattern × text, whatever the two are.
 */
function runs(tokens: readonly Token[], text: string, from: number): boolean {
  let reached = new Uint8Array(text.length + 1);
  reached[from] = 1;
  for (const token of tokens) {
    const next = new Uint8Array(text.length + 1);
    if (token === STAR) {
      let open = 0;
      for (let at = from; at <= text.length; at++) {
        open |= reached[at] as number;
        next[at] = open;
        if (isSeparator(text, at)) open = 0;
      }
    } else {
      const choices = typeof token === "string" ? [token] : (token as readonly string[]);
      for (let at = from; at <= text.length; at++) {
        if (reached[at] === 0) continue;
        for (const choice of choices) {
          if (text.startsWith(choice, at)) next[at + choice.length] = 1;
        }
      }
    }
    reached = next;
  }
  return reached[text.length] === 1;
}
