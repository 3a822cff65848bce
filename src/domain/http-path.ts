import { type Invalid, invalid } from "./invalid.ts";
import { claimPathMax } from "./limits.ts";

/** A request's path and query apart; the path in its one spelling, the query as it was sent. */
export interface PathAndQuery {
  /** `/v1/entries`, no query. */
  readonly path: string;
  /** `?limit=3`, or empty. */
  readonly query: string;
}

/**
 * The one spelling of `/path?query`, so that what is judged is what every server behind us reads:
 *
 * - escapes of letters, digits and `-._~` are undone, all others are in upper case, and so is what
 *   may not stand in a path unescaped (`"`, `<`, `>`, `^`, `` ` ``, `{`, `|`, `}`);
 * - `.` and `..` segments are resolved, repeated slashes are one.
 *
 * What servers are known to read in two ways is refused: `\` in any form, escapes of control
 * characters, escapes of an escape, bytes that are not UTF-8, dot segments made of `%2F` or followed by
 * `;`, `..` above the root, fragments. `%2F` itself stays, and no `*` of a rule stands for it. The
 * query is not judged as text: it goes on as it was sent.
 */
export function normaliseHttpPath(sent: string): PathAndQuery | Invalid {
  const mark = sent.indexOf("?");
  const path = mark < 0 ? sent : sent.slice(0, mark);
  const query = mark < 0 ? "" : sent.slice(mark);
  // Without its query: payloads stand there, and what is said here is logged.
  const no = (why: string) =>
    invalid("E_FIELD", `path ${JSON.stringify(path.slice(0, 80))} ${why}`);
  if (!path.startsWith("/")) return no("does not begin with /");
  if (!/^[\x21\x22\x24-\x7e]*$/.test(path)) return no("has a character that must be escaped");
  if (!/^[\x21\x22\x24-\x7e]*$/.test(query)) {
    return invalid("E_FIELD", "the query has a character that must be escaped");
  }
  if (path.includes("\\")) return no("has a backslash");
  if (/%(?![0-9A-Fa-f]{2})/.test(path)) return no("has a % that begins no escape");
  const spelled = path
    .replace(/%[0-9A-Fa-f]{2}/g, spell)
    .replace(/["<>^`{|}]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  if (/%(?:[01][0-9A-F]|7F)/.test(spelled)) return no("has the escape of a control character");
  if (spelled.includes("%5C")) return no("has an escaped backslash");
  if (/%25[0-9A-Fa-f]{2}/.test(spelled)) return no("has an escape of an escape");
  if (!isUtf8(spelled)) return no("has escapes that are not UTF-8");
  const segments: string[] = [];
  const parts = spelled.split("/");
  for (const [i, part] of parts.entries()) {
    const last = i === parts.length - 1;
    if (part === "" || part === ".") {
      // The slash at the end says something; the one at the beginning is always there.
      if (last) segments.push("");
    } else if (part === "..") {
      if (segments.length === 0) return no("climbs above its root");
      segments.pop();
      if (last) segments.push("");
    } else if (isHiddenDots(part)) {
      return no("has a dot segment that not every server sees");
    } else {
      segments.push(part);
    }
  }
  const normal = `/${segments.join("/")}`;
  return normal.length > claimPathMax
    ? no(`is longer than ${claimPathMax} characters`)
    : { path: normal, query };
}

const spell = (triplet: string): string => {
  const c = String.fromCharCode(Number.parseInt(triplet.slice(1), 16));
  return /[A-Za-z0-9._~-]/.test(c) ? c : triplet.toUpperCase();
};

/** `..;x`, `a%2F..`: some servers see `..` there, others a name. */
function isHiddenDots(segment: string): boolean {
  const parts = segment.split("%2F");
  return parts.some((part) => {
    const name = part.split(";")[0] as string;
    const dots = name === "." || name === "..";
    return (dots && (parts.length > 1 || name !== part)) || (part === "" && parts.length > 1);
  });
}

/** Whether the bytes that a path's escapes stand for, and its ASCII, are UTF-8. */
function isUtf8(path: string): boolean {
  if (!path.includes("%")) return true;
  try {
    decodeURIComponent(path);
    return true;
  } catch {
    return false;
  }
}
