import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FrameReader } from "./frame-reader.ts";
import { CODE, HEAD_BYTES, PAYLOAD_BYTES, PREFACE, writeHead } from "./frames.ts";

function frame(type: number, flags: number, stream: number, payload: Uint8Array): Buffer {
  const out = Buffer.alloc(HEAD_BYTES + payload.length);
  writeHead(out, 0, payload.length, type, flags, stream);
  out.set(payload, HEAD_BYTES);
  return out;
}

const frames = fc.array(
  fc.tuple(fc.nat(255), fc.nat(255), fc.nat(0x7fff_ffff), fc.uint8Array({ maxLength: 60 })),
  { maxLength: 10 },
);

describe("frames", () => {
  test("are found wherever their bytes are cut, behind a preface or not", () => {
    fc.assert(
      fc.property(frames, fc.boolean(), fc.array(fc.nat(400)), (sent, preface, cuts) => {
        const bytes = Buffer.concat([
          ...(preface ? [PREFACE] : []),
          ...sent.map(([type, flags, stream, payload]) => frame(type, flags, stream, payload)),
        ]);
        const got: unknown[] = [];
        const reader = new FrameReader(preface, {
          frame: (type, flags, stream, chunk, start, end) => {
            got.push([type, flags, stream, new Uint8Array(chunk.subarray(start, end))]);
            return null;
          },
        });
        const at = [0, ...cuts.map((c) => Math.min(c, bytes.length)), bytes.length];
        at.sort((a, b) => a - b);
        for (let i = 1; i < at.length; i++) {
          expect(reader.push(bytes.subarray(at[i - 1], at[i]))).toBeNull();
        }
        expect(got).toEqual(sent);
      }),
    );
  });

  test("longer than what we take are refused by their head alone", () => {
    const head = Buffer.alloc(HEAD_BYTES);
    writeHead(head, 0, PAYLOAD_BYTES + 1, 0, 0, 1);
    const reader = new FrameReader(false, { frame: () => null });
    expect(reader.push(head)).toMatchObject({ code: CODE.FRAME_SIZE_ERROR });
    writeHead(head, 0, PAYLOAD_BYTES, 0, 0, 1);
    expect(new FrameReader(false, { frame: () => null }).push(head)).toBeNull();
  });

  test("the reserved bit before a stream's id says nothing", () => {
    let seen = 0;
    const reader = new FrameReader(false, {
      frame: (_type, _flags, stream) => {
        seen = stream;
        return null;
      },
    });
    const bytes = frame(0, 0, 5, Buffer.alloc(0));
    bytes[5] = 0x80;
    reader.push(bytes);
    expect(seen).toBe(5);
  });

  test("of whoever does not begin as a client does are not looked at", () => {
    const reader = new FrameReader(true, { frame: () => null });
    expect(reader.push(PREFACE.subarray(0, 10))).toBeNull();
    expect(reader.push(Buffer.from("GET /"))).toMatchObject({ code: CODE.PROTOCOL_ERROR });
  });
});
