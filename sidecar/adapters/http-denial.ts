import type { Denial } from "./exchange.ts";
import { formatHead } from "./http-head.ts";
import { problem } from "./problem.ts";

/**
 * A refusal as a whole HTTP/1 answer.
 *
 * @param keep the connection carries another request after it.
 * @param bodyless the request was HEAD, whose answers have no body.
 * @param status instead of the reason's own.
 */
export function denialAnswer(
  denial: Denial,
  { keep, bodyless, status }: { keep: boolean; bodyless: boolean; status?: number },
): Buffer {
  const { fields, body, ...said } = problem(denial, status);
  const head = formatHead(`HTTP/1.1 ${said.status} ${denial.reason}`, [
    ...fields,
    ...(keep ? [] : ["connection", "close"]),
  ]);
  return bodyless ? head : Buffer.concat([head, body]);
}
