import { coverStepsMax } from "./limits.ts";
import { STAR, type Token, tokenise } from "./pattern.ts";

/** One character further: the character, or any but `/`. An escaped slash is one, too. */
interface Edge {
  readonly on: string | typeof STAR;
  readonly to: number;
}
/** A pattern as places between characters; the last is where it ends. */
interface Places {
  readonly edges: readonly (readonly Edge[])[];
  readonly end: number;
}

/**
 * Whether every text that `narrow` matches is matched by `wide`, so that a rule which goes from one
 * to the other only ever widens. Exact; false also where it would take too long to tell.
 */
export function covers(wide: string, narrow: string): boolean {
  const [w, n] = [placesOf(wide), placesOf(narrow)];
  if (w === null || n === null) return false;
  // Characters that neither names are all alike to both; one stands for them.
  const letters = [...new Set(lettersOf(`${wide}${narrow}\u0000`))].filter((c) => !isSeparator(c));
  const seen = new Set<string>();
  const open: [number, readonly number[]][] = [[0, [0]]];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const [at, reached] = next;
    if (at === n.end && !reached.includes(w.end)) return false;
    for (const { on, to } of n.edges[at] ?? []) {
      for (const c of on === STAR ? letters : [on]) {
        const step: [number, readonly number[]] = [to, follow(w, reached, c)];
        const key = `${step[0]}:${step[1].join()}`;
        if (seen.has(key)) continue;
        if (seen.size === coverStepsMax) return false;
        seen.add(key);
        open.push(step);
      }
    }
  }
  return true;
}

/** What a star does not stand for. */
const isSeparator = (c: string): boolean => c === "/" || c === "%2F";

const lettersOf = (text: string): string[] => text.match(/%2F|./gsu) ?? [];

function follow({ edges }: Places, from: readonly number[], c: string): number[] {
  const to = new Set<number>();
  for (const at of from) {
    for (const edge of edges[at] ?? []) {
      if (edge.on === STAR ? !isSeparator(c) : edge.on === c) to.add(edge.to);
    }
  }
  return [...to].sort((a, b) => a - b);
}

function placesOf(source: string): Places | null {
  const tokens = tokenise(source);
  if (typeof tokens === "string") return null;
  // A star or a choice in the middle of an escape: nobody writes that, and nothing is claimed of it.
  if (/%2?(?:[*{},]|$)/.test(source)) return null;
  const edges: Edge[][] = [[]];
  const place = (): number => edges.push([]) - 1;
  let at = 0;
  for (const token of tokens) at = append(edges, place, at, token);
  return { edges, end: at };
}

function append(edges: Edge[][], place: () => number, from: number, token: Token): number {
  if (token === STAR) {
    edges[from]?.push({ on: STAR, to: from });
    return from;
  }
  const choices = typeof token === "string" ? [token] : (token as readonly string[]);
  const end = place();
  for (const choice of choices) {
    let at = from;
    const letters = lettersOf(choice);
    for (const [i, letter] of letters.entries()) {
      const to = i === letters.length - 1 ? end : place();
      edges[at]?.push({ on: letter, to });
      at = to;
    }
  }
  return end;
}
