import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MessageMeter } from "./grpc-framing.ts";

const framed = (flag: number, length: number): Buffer => {
  const out = Buffer.alloc(5 + length, 7);
  out[0] = flag;
  out.writeUInt32BE(length, 1);
  return out;
};

describe("message boundaries", () => {
  test("are found wherever the chunks are cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(40), { maxLength: 8 }),
        fc.array(fc.nat(300), { maxLength: 20 }),
        (lengths, cuts) => {
          const all = Buffer.concat(lengths.map((n) => framed(0, n)));
          const at = [0, ...cuts.map((c) => Math.min(c, all.length)), all.length].sort(
            (a, b) => a - b,
          );
          const meter = new MessageMeter(40, false);
          for (let i = 1; i < at.length; i++) {
            expect(meter.push(all.subarray(at[i - 1], at[i]))).toBeNull();
          }
          expect(meter.messages).toBe(lengths.length);
          expect(meter.atBoundary).toBe(true);
        },
      ),
    );
  });

  test("inside a head or a body is not at a boundary", () => {
    const meter = new MessageMeter(100, false);
    meter.push(framed(0, 9).subarray(0, 3));
    expect(meter.atBoundary).toBe(false);
    meter.push(framed(0, 9).subarray(3, 8));
    expect(meter.atBoundary).toBe(false);
    meter.push(framed(0, 9).subarray(8));
    expect(meter.atBoundary).toBe(true);
  });
});

test("the message under way is told from the one that follows it in the same chunk", () => {
  fc.assert(
    fc.property(fc.nat(300), fc.nat(300), fc.nat(305), (first, second, cut) => {
      const [one, two] = [framed(0, first), framed(0, second)];
      const at = Math.min(cut, one.length - 1);
      const meter = new MessageMeter(1000, false);
      meter.push(one.subarray(0, at));
      const chunk = Buffer.concat([one.subarray(at), two]);
      expect(meter.rest(chunk)).toBe(at === 0 ? 0 : one.length - at);
      // And when the chunk ends first, all of it belongs to the message.
      const short = chunk.subarray(0, Math.max(0, one.length - at - 1));
      expect(meter.rest(short)).toBe(at === 0 ? 0 : short.length);
    }),
  );
});

describe("bad framing", () => {
  test("a message one byte above the limit is refused by its declared length alone", () => {
    expect(new MessageMeter(100, false).push(framed(0, 100))).toBeNull();
    expect(new MessageMeter(100, false).push(framed(0, 101).subarray(0, 5))).toBe(
      "MESSAGE_TOO_LARGE",
    );
  });

  test("flags other than 0 and 1 are refused, and 1 where no encoding was announced", () => {
    expect(new MessageMeter(100, true).push(framed(1, 1))).toBeNull();
    expect(new MessageMeter(100, false).push(framed(1, 1))).toBe("FRAMING_INVALID");
    expect(new MessageMeter(100, true).push(framed(2, 1))).toBe("FRAMING_INVALID");
  });
});
