import { genAiBytesMax } from "../../src/domain/limits.ts";
import { type Json, parseStrictJson } from "../../src/domain/strict-json.ts";
import { Gathered } from "./gathered.ts";
import type { RawFields } from "./http-head.ts";
import { isEncoded, isEvents, isJson } from "./mcp-body.ts";
import { SseReader } from "./sse-reader.ts";

/** Where services of language models answer, as OpenAI, Anthropic and Google have it, and whoever is like them. */
const PATHS =
  /(?:\/(?:chat\/completions|completions|responses|embeddings|messages)|:(?:generateContent|streamGenerateContent))$/;
/** A name and nothing else: it comes from outside, and stands in receipts. */
const MODEL = /^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$/;

type JsonObject = ReadonlyMap<string, Json>;

/**
 * Reads on its way what a language model's answer says of itself: the model that answered, and the
 * tokens it counted. Names and numbers alone are kept; and nothing of what is too long, or cannot be read.
 */
export class GenAiReader {
  /** null: it is JSON, whole at its end. */
  readonly #events: SseReader | null;
  readonly #whole = new Gathered();
  #lost = false;
  #model: string | null = null;
  #input: bigint | null = null;
  #output: bigint | null = null;

  private constructor(events: boolean) {
    this.#events = events ? new SseReader(genAiBytesMax) : null;
  }

  /** null: it is no answer that would be read. */
  static of(method: string, path: string, fields: RawFields): GenAiReader | null {
    if (method !== "POST" || !PATHS.test(path) || isEncoded(fields)) return null;
    const events = isEvents(fields);
    return events || isJson(fields) ? new GenAiReader(events) : null;
  }

  push(chunk: Buffer): void {
    if (this.#lost) return;
    if (this.#events === null) {
      this.#whole.push(chunk);
      if (this.#whole.length > genAiBytesMax) this.#lose();
      return;
    }
    const events = this.#events.push(chunk);
    if (events === null) this.#lose();
    for (const { data } of events ?? []) {
      // Most of a stream is text, a word an event.
      if (data !== null && (this.#model === null || /usage/i.test(data.toString("latin1")))) {
        this.#read(data);
      }
    }
  }

  /** `gen_ai model=m-1 input_tokens=12 output_tokens=34`, as far as it was told; empty: it was not. */
  told(): string {
    if (this.#events === null && !this.#lost) this.#read(this.#whole.bytes);
    const said = [
      ["model", this.#model],
      ["input_tokens", this.#input],
      ["output_tokens", this.#output],
    ].flatMap(([name, value]) => (value === null ? [] : [`${name}=${value}`]));
    return said.length === 0 ? "" : ["gen_ai", ...said].join(" ");
  }

  #lose(): void {
    this.#lost = true;
    this.#whole.take(this.#whole.length);
  }

  #read(bytes: Uint8Array): void {
    const json = parseStrictJson(bytes);
    if (!(json instanceof Map)) return;
    const top = json as JsonObject;
    // Events wrap what they tell of.
    for (const said of [top, object(top, "message"), object(top, "response")]) {
      const model = said.get("model") ?? said.get("modelVersion");
      if (typeof model === "string" && MODEL.test(model)) this.#model = model;
      const usage = object(said, said.has("usage") ? "usage" : "usageMetadata");
      this.#input = count(usage, INPUT) ?? this.#input;
      this.#output = count(usage, OUTPUT) ?? this.#output;
    }
  }
}

const INPUT = ["prompt_tokens", "input_tokens", "promptTokenCount"];
const OUTPUT = ["completion_tokens", "output_tokens", "candidatesTokenCount"];
const NONE: JsonObject = new Map();

const object = (of: JsonObject, key: string): JsonObject => {
  const value = of.get(key);
  return value instanceof Map ? (value as JsonObject) : NONE;
};

const count = (usage: JsonObject, names: readonly string[]): bigint | null => {
  const value = names.map((name) => usage.get(name)).find((v) => v !== undefined);
  return typeof value === "bigint" && value >= 0n && value <= COUNT_MAX ? value : null;
};
const COUNT_MAX = BigInt(Number.MAX_SAFE_INTEGER);
