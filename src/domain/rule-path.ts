import { normaliseGrpcPath, type Protocol } from "./claim.ts";
import { normaliseHttpPath } from "./http-path.ts";
import { isInvalid } from "./invalid.ts";
import { STAR, type Token, tokenise } from "./pattern.ts";

const show = (text: string): string => JSON.stringify(text.slice(0, 80));

/** Why no action of the protocol has a path that this pattern matches; null: some may. */
export function pathProblem(protocol: Protocol, path: string): string | null {
  const no = (why: string) => `has the path ${show(path)}, ${why}`;
  if (protocol === "HTTP") {
    if (!path.startsWith("/")) return no("which does not begin with /");
    if (/[?#\\]/.test(path)) return no("and paths hold no ?, # or \\; the query is for `when`");
  }
  const tokens = tokenise(path) as readonly Token[];
  const tried = samples(tokens);
  if (tried.some((p) => normal(protocol, p) === p)) return null;
  if (protocol === "GRPC") return no("which no gRPC call has; write /package.Service/Method");
  const [spelled] = tokens.every((t) => typeof t === "string")
    ? tried.map((p) => normal(protocol, p))
    : [];
  return no(`which no normalised path equals${spelled ? `; write ${spelled}` : ""}`);
}

/** An alternative of `{…}` that no path can have; null: each can. */
export function deadChoice(protocol: Protocol, path: string): string | null {
  if (protocol !== "GRPC" && protocol !== "HTTP") return null;
  const tokens = tokenise(path) as readonly Token[];
  for (const [i, token] of tokens.entries()) {
    if (token === STAR || typeof token === "string") continue;
    for (const choice of token as readonly string[]) {
      const tried = samples(tokens.with(i, choice));
      if (!tried.some((p) => normal(protocol, p) === p)) return choice;
    }
  }
  return null;
}

function normal(protocol: Protocol, path: string): string | null {
  const found = protocol === "GRPC" ? normaliseGrpcPath(path) : normaliseHttpPath(path);
  if (typeof found === "string") return found;
  return isInvalid(found) ? null : found.path;
}

const SAMPLES_MAX = 64;

/** Texts that a pattern matches: each choice, a star as a letter and as nothing; as many as are worth trying. */
function samples(tokens: readonly Token[]): string[] {
  let texts = [""];
  for (const token of tokens) {
    const choices = token === STAR ? ["x", ""] : typeof token === "string" ? [token] : token;
    texts = texts
      .flatMap((text) => (choices as readonly string[]).map((choice) => text + choice))
      .slice(0, SAMPLES_MAX);
  }
  return texts;
}
