import { describe, expect, test } from "vitest";
import { EventMeter } from "./event-stream.ts";

describe("events are counted", () => {
  test.each([
    ["data: 1\n\n", 1, true],
    ["data: 1\r\n\r\ndata: 2\r\n\r\n", 2, true],
    ["data: 1\r\rdata: 2\r\r", 2, true],
    ["data: 1\ndata: more\n\n", 1, true],
    ["\n\n\n", 0, true],
    [": a comment\n\n\n\n", 1, true],
    ["data: 1\n\ndata: ha", 1, false],
    ["data: 1\n", 0, false],
    ["data: 1\r\n\r", 1, true],
    ["", 0, true],
  ])("%j", (text, messages, atBoundary) => {
    for (const pieces of [[text], text.split("")]) {
      const meter = new EventMeter();
      for (const piece of pieces) meter.push(Buffer.from(piece));
      expect(meter).toMatchObject({ messages, atBoundary });
    }
  });
});
