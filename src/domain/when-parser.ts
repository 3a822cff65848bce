import { type InputName, inputName, isInt64, isPlainKey, type Source } from "./input.ts";
import { alternativesMax, inputKeysMax, whenDepthMax, whenMax, whenTestsMax } from "./limits.ts";
import { isPrintable } from "./printable.ts";
import type { Clause, Operator, Test, Value, ValueType, When, WhenInput } from "./when.ts";
import { Flaw, type Token, textOf, tokenise } from "./when-tokens.ts";

const known = new Map<string, When | string>();
const KNOWN_MAX = 1024;

/** `parseWhen`, remembered: the same conditions are read again and again. */
export function compileWhen(source: string): When | string {
  let when = known.get(source);
  if (when === undefined) {
    when = parseWhen(source);
    if (known.size >= KNOWN_MAX) known.clear();
    known.set(source, when);
  }
  return when;
}

/** Whether a rule's condition could read an input by this name, in its one spelling. */
export function isInputName(name: string): boolean {
  const when = compileWhen(name);
  return typeof when !== "string" && when.inputs[0]?.name === name;
}

/** Where conditions of one kind may read, and how names of each place are written. */
export interface Vocabulary<S extends string> {
  /** For whoever wrote another name, by source: `reads …; write …`. */
  readonly spellings: Readonly<Record<S, string>>;
  /** Sources whose names may have more than one key. */
  readonly deep: readonly S[];
}

/** Reads a condition of a rule by the grammar of docs/formats.md, or says why it is none: `has …`, `reads …`. */
export const parseWhen = (source: string): When | string => parseBy(source, OF_RULES);

/** `parseWhen`, for conditions that read elsewhere. */
export function parseBy<S extends string>(
  source: string,
  vocabulary: Vocabulary<S>,
): When<S> | string {
  if (source.length > whenMax) return `is longer than ${whenMax} characters`;
  if (!isPrintable(source) || !source.isWellFormed()) {
    return "has a character that cannot be seen; write it on one line";
  }
  try {
    return new Parser(source, vocabulary).whole();
  } catch (error) {
    if (error instanceof Flaw) return error.why;
    throw error;
  }
}

/** Each comparison, read from the right. */
const FLIPPED: Partial<Record<string, Operator>> = {
  "==": "==",
  "!=": "!=",
  "<": ">",
  "<=": ">=",
  ">": "<",
  ">=": "<=",
};
const TYPE_NAMES = { INT: "a number", STRING: "text", BOOL: "true or false" } as const;

class Parser<S extends string> {
  readonly #source: string;
  readonly #vocabulary: Vocabulary<S>;
  readonly #tokens: readonly Token[];
  #next = 0;
  #depth = 0;
  #tests = 0;
  readonly #inputs = new Map<string, WhenInput<S>>();

  constructor(source: string, vocabulary: Vocabulary<S>) {
    this.#source = source;
    this.#vocabulary = vocabulary;
    this.#tokens = tokenise(source);
  }

  whole(): When<S> {
    const root = this.#or();
    if (this.#peek().kind !== "end") this.#unexpected("");
    const inputs = [...this.#inputs.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    return { source: this.#source, root, inputs, tests: testsOf(root) };
  }

  #peek(ahead = 0): Token {
    return this.#tokens[Math.min(this.#next + ahead, this.#tokens.length - 1)] as Token;
  }

  #take(): Token {
    const token = this.#peek();
    this.#next++;
    return token;
  }

  #isNext(text: string, ahead = 0): boolean {
    const token = this.#peek(ahead);
    return token.text === text && (token.kind === "sign" || token.kind === "word");
  }

  #skip(text: string): boolean {
    if (!this.#isNext(text)) return false;
    this.#next++;
    return true;
  }

  #expect(text: string): void {
    if (!this.#skip(text)) this.#unexpected(`; \`${text}\` belongs there`);
  }

  #unexpected(fix: string): never {
    const { kind, text, at } = this.#peek();
    if (kind === "end") throw new Flaw(`ends too early${fix}`);
    throw new Flaw(`has \`${text}\` at character ${at + 1}, which cannot stand there${fix}`);
  }

  /** What was read from there on, as it is written. */
  #since({ at }: Token): string {
    return this.#source.slice(at, (this.#tokens[this.#next - 1] as Token).to);
  }

  #or(): Clause<S> {
    return this.#list("or", "||", () => this.#list("and", "&&", () => this.#not()));
  }

  #list(kind: "and" | "or", sign: string, part: () => Clause<S>): Clause<S> {
    const from = this.#peek();
    const first = part();
    const of = [first];
    while (this.#skip(sign)) of.push(part());
    return of.length === 1 ? first : { kind, text: this.#since(from), of };
  }

  #nested(read: () => Clause<S>): Clause<S> {
    this.#depth++;
    if (this.#depth > whenDepthMax) throw new Flaw(`is nested more than ${whenDepthMax} deep`);
    const clause = read();
    this.#depth--;
    return clause;
  }

  /** `!` holds tighter than a comparison: `!a == b` would be `(!a) == b`, which nobody means. */
  #not(): Clause<S> {
    const from = this.#peek();
    if (!this.#skip("!")) return this.#primary();
    const of = this.#nested(() => this.#not());
    if (of.kind === "test" && isComparison(of)) {
      throw new Flaw(`has \`!\` before a comparison; write !(${of.text})`);
    }
    return { kind: "not", text: this.#since(from), of };
  }

  #primary(): Clause<S> {
    const from = this.#peek();
    if (!this.#skip("(")) return this.#test();
    const inside = this.#nested(() => this.#or());
    this.#expect(")");
    return { ...inside, text: this.#since(from) };
  }

  #test(): Test<S> {
    const from = this.#peek();
    if (this.#isLiteral()) {
      const value = this.#literal();
      const operator = FLIPPED[this.#peek().text];
      if (operator === undefined)
        throw new Flaw(`has \`${this.#since(from)}\`, which reads nothing`);
      this.#take();
      return this.#add(from, this.#input(), operator, [value]);
    }
    const input = this.#input();
    if (this.#skip("in")) return this.#add(from, input, "in", this.#literals());
    if (this.#isNext(".")) {
      this.#take();
      this.#expect("startsWith");
      this.#expect("(");
      const prefix = this.#literal();
      this.#expect(")");
      return this.#add(from, input, "startsWith", [prefix]);
    }
    const operator = this.#peek().text;
    if (FLIPPED[operator] === undefined) return this.#add(from, input, "==", [true]);
    this.#take();
    if (!this.#isLiteral()) {
      throw new Flaw(`compares ${input.name} with what is no literal; write a number or "text"`);
    }
    return this.#add(from, input, operator as Operator, [this.#literal()]);
  }

  #add(from: Token, name: InputName<S>, operator: Operator, values: readonly Value[]): Test<S> {
    const types = [...new Set(values.map(typeOf))];
    const [type] = types as [ValueType];
    const text = this.#since(from);
    if (types.length > 1) throw new Flaw(`has \`${text}\`, a list of different types`);
    if (new Set(values).size < values.length) throw new Flaw(`has \`${text}\`, with a value twice`);
    if (operator === "startsWith" && type !== "STRING") {
      throw new Flaw(`has \`${text}\`; only text starts with something`);
    }
    if (type === "BOOL" && operator !== "==" && operator !== "!=" && operator !== "in") {
      throw new Flaw(`has \`${text}\`; true and false have no order`);
    }
    const known = this.#inputs.get(name.name);
    if (known !== undefined && known.type !== type) {
      const [a, b] = [TYPE_NAMES[known.type], TYPE_NAMES[type]];
      throw new Flaw(`compares ${name.name} as ${a} and as ${b}; it can never be both`);
    }
    const input = known ?? { ...name, type };
    this.#inputs.set(name.name, input);
    this.#tests++;
    if (this.#tests > whenTestsMax) {
      throw new Flaw(`has more than ${whenTestsMax} comparisons; write several rules`);
    }
    return { kind: "test", text, input, operator, values };
  }

  #input(): InputName<S> {
    const root = this.#peek();
    const { spellings, deep } = this.#vocabulary;
    const sources = Object.keys(spellings) as S[];
    const source = sources.find((s) => s === root.text);
    if (root.kind !== "word") this.#unexpected("");
    if (source === undefined) {
      throw new Flaw(`reads \`${root.text}\`; known are ${sources.join(", ")}`);
    }
    this.#take();
    const keys: string[] = [];
    for (let key = this.#key(source); key !== null; key = this.#key(source)) keys.push(key);
    const single = !deep.includes(source);
    if (keys.length === 0 || (single && keys.length > 1)) throw new Flaw(spellings[source]);
    if (keys.length > inputKeysMax) throw new Flaw(`has a name of more than ${inputKeysMax} keys`);
    return inputName(source, keys);
  }

  /** The next key of a name; null: the name ends here. */
  #key(source: S): string | null {
    if (this.#isNext(".") && !(this.#isNext("startsWith", 1) && this.#isNext("(", 2))) {
      this.#take();
      const { kind, text } = this.#peek();
      if (kind !== "word") this.#unexpected(`; other names stand in brackets: ${source}["a-b"]`);
      if (!isPlainKey(text)) throw new Flaw(`has .${text}; write ["${text}"]`);
      if (source === "path") throw new Flaw(this.#vocabulary.spellings[source]);
      this.#take();
      return text;
    }
    if (!this.#skip("[")) return null;
    const { kind, text } = this.#take();
    const wanted = source === "path" ? "int" : "text";
    if (kind !== wanted || (kind === "int" && !/^(?:0|[1-9][0-9]?)$/.test(text))) {
      throw new Flaw(this.#vocabulary.spellings[source]);
    }
    this.#expect("]");
    if (kind === "int") return text;
    const key = textOf(text);
    if (isPlainKey(key)) throw new Flaw(`has ["${key}"]; write .${key}`);
    if (key === "" || !isPrintable(key)) throw new Flaw("has a key that cannot be seen");
    return key;
  }

  #isLiteral(): boolean {
    const { kind, text } = this.#peek();
    return kind === "int" || kind === "text" || text === "true" || text === "false";
  }

  #literal(): Value {
    if (!this.#isLiteral()) this.#unexpected('; a number or "text" belongs there');
    const { kind, text } = this.#take();
    if (kind === "text") return textOf(text);
    if (kind === "word") return text === "true";
    if (!isInt64(text)) throw new Flaw(`has ${text}, which is no 64-bit integer`);
    return BigInt(text);
  }

  #literals(): Value[] {
    this.#expect("[");
    const values = [this.#literal()];
    while (this.#skip(",")) values.push(this.#literal());
    this.#expect("]");
    if (values.length > alternativesMax)
      throw new Flaw(`has a list of more than ${alternativesMax}`);
    return values;
  }
}

/** How the names of each source are written, for whoever wrote another. */
const SPELLINGS: Record<Source, string> = {
  path: "reads the path without a segment's number; write path[0] for the first",
  query: 'reads the query without one name; write query.limit or query["page-size"]',
  header: 'reads header fields without one name; write header["x-account"]',
  json: "reads a body without a name, or a list's element; write json.amount",
  args: "reads arguments without a name, or a list's element; write args.amount",
};

const OF_RULES: Vocabulary<Source> = { spellings: SPELLINGS, deep: ["json", "args"] };

const isComparison = ({ operator, text, input }: Test<string>): boolean =>
  operator !== "startsWith" && text !== input.name && !text.startsWith("(");

const testsOf = <S extends string>(clause: Clause<S>): Test<S>[] =>
  clause.kind === "test"
    ? [clause]
    : clause.kind === "not"
      ? testsOf(clause.of)
      : clause.of.flatMap(testsOf);

const typeOf = (value: Value): ValueType =>
  typeof value === "bigint" ? "INT" : typeof value === "string" ? "STRING" : "BOOL";
