import { once } from "node:events";
import http2 from "node:http2";
import { duplexPair } from "node:stream";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { headerListBytesMax, headerPairsMax } from "../domain/limits.ts";
import { FrameReader } from "./frame-reader.ts";
import { FLAG, FRAME } from "./frames.ts";
import { encodedMax, encodeFields, HpackDecoder } from "./hpack.ts";

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");
const decode = (decoder: HpackDecoder, block: Buffer): string[] | null =>
  decoder.decode(block, 0, block.length);

const A = [":method", "GET", ":scheme", "http", ":path", "/", ":authority", "www.example.com"];
const C = [":method", "GET", ":scheme", "https", ":path", "/index.html"];
const KEYED = [...C, ":authority", "www.example.com", "custom-key", "custom-value"];
const DATE = "Mon, 21 Oct 2013 20:13:21 GMT";
const PLACED = ["cache-control", "private", "date", DATE, "location", "https://www.example.com"];
const COOKIE = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
const LAST = [
  ...[":status", "200", "cache-control", "private", "date", DATE.replace(":21 ", ":22 ")],
  ...["location", "https://www.example.com", "content-encoding", "gzip", "set-cookie", COOKIE],
];
/** "Our table has 256 bytes", as the RFC's answers assume. */
const TABLE_256 = "3fe101";

/** RFC 7541, appendix C: blocks that follow each other on one connection. */
const EXAMPLES: [string, [block: string, fields: string[]][]][] = [
  [
    "C.2.1",
    [["400a637573746f6d2d6b65790d637573746f6d2d686561646572", ["custom-key", "custom-header"]]],
  ],
  ["C.2.2", [["040c2f73616d706c652f70617468", [":path", "/sample/path"]]]],
  ["C.2.3", [["100870617373776f726406736563726574", ["password", "secret"]]]],
  ["C.2.4", [["82", [":method", "GET"]]]],
  [
    "C.3",
    [
      ["828684410f7777772e6578616d706c652e636f6d", A],
      ["828684be58086e6f2d6361636865", [...A, "cache-control", "no-cache"]],
      ["828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", KEYED],
    ],
  ],
  [
    "C.4",
    [
      ["828684418cf1e3c2e5f23a6ba0ab90f4ff", A],
      ["828684be5886a8eb10649cbf", [...A, "cache-control", "no-cache"]],
      ["828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", KEYED],
    ],
  ],
  [
    "C.5",
    [
      [
        `${TABLE_256}4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d`,
        [":status", "302", ...PLACED],
      ],
      ["4803333037c1c0bf", [":status", "307", ...PLACED]],
      [
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
        LAST,
      ],
    ],
  ],
  [
    "C.6",
    [
      [
        `${TABLE_256}488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3`,
        [":status", "302", ...PLACED],
      ],
      ["4883640effc1c0bf", [":status", "307", ...PLACED]],
      [
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        LAST,
      ],
    ],
  ],
];

describe("RFC 7541, appendix C", () => {
  test.each(EXAMPLES)("%s", (_, blocks) => {
    const decoder = new HpackDecoder();
    for (const [block, fields] of blocks) expect(decode(decoder, hex(block))).toEqual(fields);
  });
});

describe("a header block", () => {
  test.each([
    ["an index of nothing", "80"],
    ["an index beyond the table", "be"],
    ["a name by such an index", "7f0f0161"],
    ["a string longer than the block", "00056162"],
    ["an integer without an end", "ffffffffffffffff7f"],
    ["a name without a value", "0001 61"],
    ["Huffman padding of eight bits", "0081ff 0161"],
    ["Huffman padding that is not all ones", "008218c0 0161"],
    ["the end of a string inside one", "0084ffffffff 0161"],
    ["a table above what was agreed", "3fe21f"],
    ["a table's size after a field", "8220"],
  ])("that holds %s is no header block", (_, block) => {
    expect(decode(new HpackDecoder(), hex(block))).toBeNull();
  });

  test("stands alone once its sender has given up its table", () => {
    const decoder = new HpackDecoder();
    expect(decode(decoder, hex("400161 0162"))).toEqual(["a", "b"]);
    expect(decode(decoder, hex("be"))).toEqual(["a", "b"]);
    expect(decode(decoder, hex("20 82"))).toEqual([":method", "GET"]);
    expect(decode(decoder, hex("be"))).toBeNull();
    expect(decode(decoder, hex("400161 0162"))).toEqual(["a", "b"]);
    expect(decode(decoder, hex("be"))).toBeNull();
  });

  test("is too large one byte above the limit, and its table is kept in step", () => {
    const list = (bytes: number): Buffer => {
      const value = Buffer.alloc(bytes - 32 - 1, "v");
      const rest = value.length - 127;
      return Buffer.concat([
        hex("000161"),
        Buffer.from([127, (rest & 127) | 128, rest >> 7]),
        value,
      ]);
    };
    const decoder = new HpackDecoder();
    expect(decode(decoder, list(headerListBytesMax))).toHaveLength(2);
    expect(decoder.tooLarge).toBe(false);
    const indexing = Buffer.concat([list(headerListBytesMax + 1), hex("400161 0162")]);
    expect(decode(decoder, indexing)).not.toBeNull();
    expect(decoder.tooLarge).toBe(true);
    expect(decode(decoder, hex("be"))).toEqual(["a", "b"]);
  });

  test("with one field too many is too large", () => {
    const decoder = new HpackDecoder();
    decode(decoder, Buffer.alloc(headerPairsMax, 0x82));
    expect(decoder.tooLarge).toBe(false);
    decode(decoder, Buffer.alloc(headerPairsMax + 1, 0x82));
    expect(decoder.tooLarge).toBe(true);
  });

  test("of any bytes at all is read or refused, and never throws", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 4 }), (blocks) => {
        const decoder = new HpackDecoder();
        for (const block of blocks) decode(decoder, Buffer.from(block));
      }),
    );
  });
});

const value = fc.string({
  unit: fc.integer({ min: 0x21, max: 0xff }).map((c) => String.fromCharCode(c)),
});
const name = fc.stringMatching(/^[a-z0-9-]{1,20}$/);
const lists = fc.array(fc.tuple(name, value), { maxLength: 20 });

test("what is encoded is decoded the same, in order and with every repeat, within the bytes foretold", () => {
  fc.assert(
    fc.property(lists, (pairs) => {
      const fields = [":status", "200", ":path", "/x", ...pairs.flat()];
      const bytes = Buffer.alloc(encodedMax(fields));
      const end = encodeFields(fields, bytes, 0);
      expect(end).toBeLessThanOrEqual(bytes.length);
      expect(new HpackDecoder().decode(bytes, 0, end)).toEqual(fields);
    }),
  );
});

test("nghttp2's own coding of every value that a field may have is read", async () => {
  const [ours, theirs] = duplexPair();
  const session = http2.connect("http://a", { createConnection: () => theirs });
  const decoder = new HpackDecoder();
  const heads: (string[] | null)[] = [];
  const reader = new FrameReader(true, {
    frame: (type, flags, _stream, bytes, start, end) => {
      if (type === FRAME.HEADERS) {
        expect(flags & FLAG.END_HEADERS).toBeTruthy();
        heads.push(decoder.decode(bytes, start + ((flags & FLAG.PRIORITY) === 0 ? 0 : 5), end));
      }
      return null;
    },
  });
  ours.on("data", (chunk: Buffer) => expect(reader.push(chunk)).toBeNull());
  await once(session, "connect");
  const codes = Array.from({ length: 256 }, (_, c) => c).filter((c) => c > 0x20 && c !== 0x7f);
  const values = codes.map((c) => String.fromCharCode(c, c, c));
  for (let at = 0; at < values.length; at += 32) {
    const part = values.slice(at, at + 32).flatMap((v, i) => [`x-${at + i}`, v]);
    session.request([
      ":path",
      "/",
      ":method",
      "GET",
      ":authority",
      "a",
      ":scheme",
      "http",
      ...part,
    ] as never);
  }
  await expect.poll(() => heads.length).toBe(Math.ceil(values.length / 32));
  const read = heads.flatMap((h) =>
    (h ?? []).filter((_, i, all) => i % 2 === 1 && all[i - 1]?.startsWith("x-")),
  );
  expect(read).toEqual(values);
  session.destroy();
});
