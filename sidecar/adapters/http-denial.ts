import type { Denial } from "./exchange.ts";
import { formatHead } from "./http-head.ts";
import { type OwnWords, problem } from "./problem.ts";

/**
 * A refusal as a whole HTTP/1 answer.
 *
 * @param keep the connection carries another request after it.
 * @param bodyless the request was HEAD, whose answers have no body.
 * @param said what is said, and by which status, if not as any HTTP client is told.
 */
export function denialAnswer(
  denial: Denial,
  { keep, bodyless }: { keep: boolean; bodyless: boolean },
  said?: Partial<OwnWords>,
): Buffer {
  const { status, fields, body } = problem(denial, said);
  const head = formatHead(`HTTP/1.1 ${status} ${denial.reason}`, [
    ...fields,
    ...(keep ? [] : ["connection", "close"]),
  ]);
  return bodyless ? head : Buffer.concat([head, body]);
}
