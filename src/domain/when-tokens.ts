/** What is wrong with a condition, thrown from the depth of its reading to its top. */
export class Flaw {
  readonly why: string;
  constructor(why: string) {
    this.why = why;
  }
}

export interface Token {
  readonly kind: "word" | "int" | "text" | "sign" | "end";
  /** As it is written. */
  readonly text: string;
  /** Where it begins and ends. */
  readonly at: number;
  readonly to: number;
}

/** Numbers with what would make them something else, so that `1.5` is told as a whole. */
const PATTERNS = {
  word: /[A-Za-z_][A-Za-z0-9_]*/y,
  int: /-?[0-9][0-9A-Za-z_]*(?:\.[0-9A-Za-z_]*)*/y,
  text: /"(?:[^"\\]|\\.)*"/uy,
  sign: /\|\||&&|[=!<>]=|[<>!()[\],.]/y,
} as const;
const KINDS = ["word", "int", "text", "sign"] as const;

/** The words, numbers, texts and signs of a condition; spaces only part them. @throws Flaw */
export function tokenise(source: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < source.length) {
    if (source[at] === " ") {
      at++;
      continue;
    }
    const token = tokenAt(source, at);
    if (token === null) throw new Flaw(strange(source, at));
    tokens.push(token);
    at = token.to;
  }
  tokens.push({ kind: "end", text: "", at, to: at });
  return tokens;
}

function tokenAt(source: string, at: number): Token | null {
  for (const kind of KINDS) {
    const pattern = PATTERNS[kind];
    pattern.lastIndex = at;
    const text = pattern.exec(source)?.[0];
    if (text !== undefined) return { kind, text, at, to: at + text.length };
  }
  return null;
}

function strange(source: string, at: number): string {
  const c = String.fromCodePoint(source.codePointAt(at) as number);
  if (c === '"') return "has a text that does not end";
  if (c === "'") return 'has a single quote; write "text" in double ones';
  if (c === "=") return "has `=`; write == to compare";
  if (c === "&" || c === "|") return `has \`${c}\`; write ${c}${c}`;
  if (c === "-") return 'has `-`; a name with one stands in brackets: header["x-account"]';
  return `has \`${c}\` at character ${at + 1}, which conditions do not know`;
}

const ESCAPES: Partial<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  n: "\n",
  r: "\r",
  t: "\t",
};

/** The text that a token in double quotes stands for. @throws Flaw on an escape that is none. */
export const textOf = (token: string): string =>
  token.slice(1, -1).replace(/\\(.)/gu, (sequence, c: string) => {
    const text = ESCAPES[c];
    if (text === undefined)
      throw new Flaw(`has the escape ${sequence}; known are \\" \\\\ \\n \\r \\t`);
    return text;
  });
