import { witnessAnswerMax, witnessPatienceUs } from "../domain/limits.ts";

export interface Answer {
  readonly status: number;
  readonly text: string;
}

/** Sends a text to a witness. @throws Error when nobody answers in time, or with too much. */
export type Post = (url: string, text: string) => Promise<Answer>;

/** Over HTTP or HTTPS, following no redirect: what counts in an answer is its signature. */
export const postText: Post = async (url, text) => {
  const response = await fetch(url, {
    method: "POST",
    body: text,
    headers: { "content-type": "text/plain; charset=utf-8" },
    redirect: "error",
    signal: AbortSignal.timeout(witnessPatienceUs / 1000),
  });
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response.body ?? []) {
    length += part.length;
    if (length > witnessAnswerMax)
      throw new Error(`it answers with more than ${witnessAnswerMax} bytes`);
    parts.push(part);
  }
  return { status: response.status, text: Buffer.concat(parts).toString("utf8") };
};
