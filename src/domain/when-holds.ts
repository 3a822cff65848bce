import {
  type Clause,
  holds,
  order,
  type Test,
  type Value,
  type When,
  type WhenInput,
} from "./when.ts";

/**
 * Whether some request can make a condition true. Exact: a test only tells apart whether a value lies
 * below, at or above its literals, so one value of each of these places stands for all, and conditions
 * have few tests. Text that can only be what a rule's own path has is tried as that.
 *
 * @param only the values that an input can have at all; null: any of its type
 */
export function canHold(when: When, only: (input: WhenInput) => readonly Value[] | null): boolean {
  const inputs = when.inputs.map((input) => {
    const tests = when.tests.filter((test) => test.input.name === input.name);
    return { tests, answers: answersOf(tests, only(input) ?? places(tests)) };
  });
  const known = new Map<Test, boolean>();
  const tryFrom = (next: number): boolean => {
    const truth = truthOf(when.root, known);
    if (truth !== undefined) return truth;
    const { tests, answers } = inputs[next] as (typeof inputs)[number];
    for (const answer of answers) {
      for (const [i, test] of tests.entries()) known.set(test, answer[i] as boolean);
      if (tryFrom(next + 1)) return true;
    }
    for (const test of tests) known.delete(test);
    return false;
  };
  return tryFrom(0);
}

/** What the tests of one input can answer together, each way once. */
function answersOf(tests: readonly Test[], values: readonly Value[]): boolean[][] {
  const answers = values.map((value) => tests.map((test) => holds(test, value)));
  return [...new Map(answers.map((a) => [a.join(), a])).values()];
}

/** True or false as soon as what is known decides it; undefined: not yet. */
function truthOf(clause: Clause, known: ReadonlyMap<Test, boolean>): boolean | undefined {
  switch (clause.kind) {
    case "test":
      return known.get(clause);
    case "not": {
      const truth = truthOf(clause.of, known);
      return truth === undefined ? undefined : !truth;
    }
    default: {
      const decides = clause.kind === "or";
      const parts = clause.of.map((part) => truthOf(part, known));
      if (parts.includes(decides)) return decides;
      return parts.includes(undefined) ? undefined : !decides;
    }
  }
}

const INT64_MAX = 2n ** 63n - 1n;

/** A value at each literal, and one in each gap between them. */
function places(tests: readonly Test[]): Value[] {
  const values = tests.flatMap((test) => test.values);
  switch (typeof values[0]) {
    case "boolean":
      return [false, true];
    case "bigint": {
      const near = (values as bigint[]).flatMap((n) => [n - 1n, n, n + 1n]);
      return near.filter((n) => n >= -INT64_MAX - 1n && n <= INT64_MAX);
    }
    default: {
      const bounds = (values as string[]).flatMap((text) => [text, afterAll(text)]);
      const sorted = [...new Set(["", ...bounds.filter((b) => b !== null)])].sort(order);
      // The next text after one is it and U+0000; where that is a bound itself, there is no gap.
      return sorted.flatMap((bound) => [bound, `${bound}\u0000`]);
    }
  }
}

/** The least text that is after all that begin with this one; null: there is none. */
function afterAll(text: string): string | null {
  const points = Array.from(text, (c) => c.codePointAt(0) as number);
  while (points.at(-1) === 0x10_ffff) points.pop();
  const last = points.pop();
  if (last === undefined) return null;
  // Surrogates are no characters.
  points.push(last === 0xd7ff ? 0xe000 : last + 1);
  return String.fromCodePoint(...points);
}
