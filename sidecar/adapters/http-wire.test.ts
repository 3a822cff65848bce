import type { Socket } from "node:net";
import { PassThrough } from "node:stream";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CORPUS, spell } from "../../test/attacks/smuggling-corpus.ts";
import { requestFraming } from "./http-fields.ts";
import { parseRequestHead } from "./http-head.ts";
import { GONE, HttpBody, HttpReader } from "./http-wire.ts";

/** All requests that some bytes hold, read from pieces of them; and what was wrong in the end. */
async function read(pieces: readonly Buffer[]): Promise<string[]> {
  const stream = new PassThrough();
  const reader = new HttpReader(stream as unknown as Socket);
  const said: string[] = [];
  const done = (async () => {
    for (;;) {
      const bytes = await reader.head();
      if (bytes === null) return;
      if (bytes === GONE) return void said.push("gone");
      const head = "malformed" in bytes ? bytes : parseRequestHead(bytes);
      if ("malformed" in head) return void said.push(head.detail);
      const framing = requestFraming(head.fields, head.minor);
      if ("malformed" in framing) return void said.push(framing.detail);
      const body = new HttpBody(reader, framing);
      let text = "";
      for (;;) {
        const piece = await body.read();
        if (piece === null) break;
        if (piece === GONE) return void said.push("gone");
        if ("malformed" in piece) return void said.push(piece.detail);
        text += piece.toString("latin1");
      }
      said.push(JSON.stringify([head, text, body.trailers]));
    }
  })();
  for (const piece of pieces) {
    stream.write(piece);
    await new Promise(setImmediate);
  }
  stream.end();
  await done;
  return said;
}

const bytesOf = (text: string) => Buffer.from(spell(text, "a.example:80", "A: 1\r\n"), "latin1");

describe("requests are the same whatever pieces they come in", () => {
  test.each(CORPUS.filter((c) => c.bytes.length < 1000))("$name", async ({ bytes }) => {
    const whole = bytesOf(bytes);
    const expected = await read([whole]);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(whole.length), { maxLength: 6 }), async (cuts) => {
        const places = [0, ...cuts.sort((a, b) => a - b), whole.length];
        const pieces = places.slice(1).map((end, i) => whole.subarray(places[i], end));
        expect(await read(pieces.filter((p) => p.length > 0))).toEqual(expected);
      }),
      { numRuns: 15 },
    );
    const single = Array.from(whole, (byte) => Buffer.of(byte));
    expect(await read(single)).toEqual(expected);
  });
});

test("no bytes make it throw, or hang", async () => {
  const word = fc.constantFrom(
    ..."GET|POST| |/|HTTP/1.1|\r\n|\r|\n|:|Content-Length|Transfer-Encoding|chunked|0|5|a|;|\t|\0|Host".split(
      "|",
    ),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(word, { maxLength: 40 }), async (words) => {
      await read([Buffer.from(words.join(""), "latin1")]);
    }),
    { numRuns: 500 },
  );
});
