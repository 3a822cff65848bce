import { describe, expect, test } from "vitest";
import { genAiBytesMax } from "../../src/domain/limits.ts";
import { GenAiReader } from "./gen-ai.ts";

/** What is read of a language model's answer: names and numbers, and never a word of it. */

const JSON_TYPE = ["Content-Type", "application/json"];
const EVENTS = ["Content-Type", "text/event-stream; charset=utf-8"];

/** Read in one piece and byte by byte: the same. */
function told(text: string, fields = JSON_TYPE, path = "/v1/chat/completions"): string | null {
  const whole = GenAiReader.of("POST", path, fields);
  whole?.push(Buffer.from(text));
  const pieces = GenAiReader.of("POST", path, fields);
  for (const byte of Buffer.from(text)) pieces?.push(Buffer.of(byte));
  const said = whole?.told() ?? null;
  expect(pieces?.told() ?? null).toBe(said);
  return said;
}
const json = (value: object) => JSON.stringify(value);
const events = (...values: object[]) => values.map((v) => `data: ${json(v)}\n\n`).join("");
const SAID = "gen_ai model=m-1 input_tokens=12 output_tokens=34";

describe("the model and the tokens of an answer", () => {
  test.each<[string, string, string[], string]>([
    [
      "as OpenAI has it",
      json({ model: "m-1", choices: [], usage: { prompt_tokens: 12, completion_tokens: 34 } }),
      JSON_TYPE,
      "/v1/chat/completions",
    ],
    [
      "as Anthropic has it",
      json({ model: "m-1", content: [], usage: { input_tokens: 12, output_tokens: 34 } }),
      JSON_TYPE,
      "/v1/messages",
    ],
    [
      "as Google has it",
      json({
        modelVersion: "m-1",
        usageMetadata: { promptTokenCount: 12, candidatesTokenCount: 34 },
      }),
      JSON_TYPE,
      "/v1beta/models/m-1:generateContent",
    ],
    [
      "in OpenAI's events",
      `${events({ model: "m-1" }, { model: "m-1", usage: { prompt_tokens: 12, completion_tokens: 34 } })}data: [DONE]\n\n`,
      EVENTS,
      "/v1/chat/completions",
    ],
    [
      "in Anthropic's events, whose last count holds",
      events(
        { message: { model: "m-1", usage: { input_tokens: 12, output_tokens: 1 } } },
        { delta: { text: "usage" } },
        { usage: { output_tokens: 34 } },
      ),
      EVENTS,
      "/v1/messages",
    ],
    [
      "in OpenAI's events of responses",
      events({ response: { model: "m-1", usage: { input_tokens: 12, output_tokens: 34 } } }),
      EVENTS,
      "/v1/responses",
    ],
  ])("%s", (_, text, fields, path) => {
    expect(told(text, fields, path)).toBe(SAID);
  });

  test("are told as far as they were said", () => {
    expect(told(json({ model: "m-1" }))).toBe("gen_ai model=m-1");
    expect(told(json({ usage: { prompt_tokens: 0 } }))).toBe("gen_ai input_tokens=0");
    expect(told("{}")).toBe("");
  });

  test.each<[string, object]>([
    ["a model that is a sentence", { model: "the secret is 7" }],
    ["a model without end", { model: "m".repeat(129) }],
    ["counts that are text", { usage: { prompt_tokens: "12" } }],
    ["counts below nothing", { usage: { prompt_tokens: -1 } }],
    ["counts beyond 2^53", { usage: { prompt_tokens: 2 ** 53 } }],
    ["counts that are not whole", { usage: { prompt_tokens: 1.5 } }],
  ])("are not %s", (_, value) => {
    expect(told(json(value))).toBe("");
  });

  test("are not guessed of what cannot be read, or is too long", () => {
    expect(told('{"model":"m-1","model":"m-2"}')).toBe("");
    const long = (text: string) => `{"model":"m-1","text":"${text}"}`;
    const fits = genAiBytesMax - long("").length;
    const read = (text: string) => {
      const reader = GenAiReader.of("POST", "/v1/messages", JSON_TYPE);
      reader?.push(Buffer.from(long(text)));
      return reader?.told();
    };
    expect(read("x".repeat(fits))).toBe("gen_ai model=m-1");
    expect(read("x".repeat(fits + 1))).toBe("");
  });
});

test("no other answer is read", () => {
  const body = json({ model: "m-1" });
  expect(told(body, JSON_TYPE, "/v1/files")).toBeNull();
  expect(told(body, ["Content-Type", "text/plain"])).toBeNull();
  expect(told(body, [...JSON_TYPE, "Content-Encoding", "gzip"])).toBeNull();
  expect(GenAiReader.of("GET", "/v1/messages", JSON_TYPE)).toBeNull();
});
