import { describe, expect, test } from "vitest";
import { closeFrame, FrameMeter } from "./web-socket-framing.ts";

const MAX = 100_000;
const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");

/** Everything at once, then byte by byte: the same must come of it. */
function meter(bytes: Buffer, masked = false) {
  const results = [[bytes], [...bytes].map((b) => Buffer.of(b))].map((chunks) => {
    const frames = new FrameMeter(masked, MAX);
    let payload = "";
    let fault: string | null = null;
    for (const chunk of chunks) {
      const said = frames.push(chunk, (b) => {
        payload += Buffer.from(b).toString("latin1");
      });
      if (typeof said === "string") fault ??= said;
      if (fault !== null) break;
    }
    const { messages, closed, atBoundary, atFrameEnd } = frames;
    return {
      fault,
      payload: fault === null ? payload : "",
      messages,
      closed,
      atBoundary,
      atFrameEnd,
    };
  });
  expect(results[0]).toEqual(results[1]);
  return results[0] as (typeof results)[0];
}

describe("frames are followed", () => {
  test("of RFC 6455's examples", () => {
    expect(meter(hex("81 05 48656c6c6f"))).toMatchObject({ payload: "Hello", messages: 1 });
    expect(meter(hex("81 85 37fa213d 7f9f4d5158"), true)).toMatchObject({ payload: "Hello" });
    expect(meter(hex("01 03 48656c 80 02 6c6f"))).toMatchObject({ payload: "Hello", messages: 1 });
    expect(meter(hex("82 7e 0100"))).toMatchObject({ messages: 0, atBoundary: false });
  });

  test("with control frames between the parts of a message", () => {
    const seen = meter(hex("01 01 61 89 01 70 80 01 62"));
    expect(seen).toMatchObject({ payload: "apb", messages: 1, atBoundary: true });
  });

  test("of every length", () => {
    for (const length of [0, 1, 125, 126, 65_535, 65_536]) {
      const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
      head[0] = 0x82;
      head[1] = length < 126 ? length : length < 65_536 ? 126 : 127;
      if (length >= 65_536) head.writeBigUInt64BE(BigInt(length), 2);
      else if (length >= 126) head.writeUInt16BE(length, 2);
      const seen = meter(Buffer.concat([head, Buffer.alloc(length, "x")]));
      expect(seen).toMatchObject({ fault: null, messages: 1 });
      expect(seen.payload).toHaveLength(length);
    }
  });

  test("and where the first message of a chunk ends is told", () => {
    const frames = new FrameMeter(false, MAX);
    expect(frames.push(hex("81 01 61 81 01 62 81"), () => {})).toBe(3);
    expect(frames.atBoundary).toBe(false);
    expect(frames.push(hex("01"), () => {})).toBe(-1);
  });
});

describe("a frame is refused", () => {
  test.each([
    ["with a reserved bit", "c1 00", false],
    ["of an unknown kind", "83 00", false],
    ["of an unknown control kind", "8b 00", false],
    ["of a client without a mask", "81 00", true],
    ["of a server with one", "81 80 00000000", false],
    ["with a length in more bytes than it needs", "81 7e 007d", false],
    ["with a length in far more", "81 7f 000000000000ffff", false],
    ["with a negative length", "81 7f 8000000000000000", false],
    ["of control in parts", "09 00", false],
    ["of control that is long", "89 7e 007e", false],
    ["that continues nothing", "80 00", false],
    ["that begins a second message", "01 00 81 00", false],
    ["that closes with one byte", "88 01 03", false],
    ["after the close", "88 00 81 00", false],
    ["of a message that is too long", "82 7f 00000000000186a1", false],
    ["that makes a message too long", "02 7f 00000000000186a0", false, `80 01`],
  ] as const)("%s", (_, frame, masked, next?: string) => {
    const filler = next === undefined ? "" : "61".repeat(MAX);
    expect(meter(hex(frame + filler + (next ?? "")), masked).fault).not.toBeNull();
  });
});

test("a close frame tells its code, and no more of a reason than fits", () => {
  const frame = closeFrame(1008, "é".repeat(100), null);
  expect(meter(frame)).toMatchObject({ closed: true, fault: null });
  expect(frame.readUInt16BE(2)).toBe(1008);
  expect(frame.subarray(4).toString("utf8")).toBe("é".repeat(61));
  const masked = closeFrame(1001, "bye", Buffer.from([1, 2, 3, 4]));
  expect(meter(masked, true)).toMatchObject({ closed: true, payload: "\x03\xe9bye" });
});
