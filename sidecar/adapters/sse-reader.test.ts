import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { mcpEventIdMax } from "../../src/domain/limits.ts";
import { LineReader } from "./line-reader.ts";
import { SseReader } from "./sse-reader.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

describe("events are cut out whole, however they come", () => {
  test.each<[string, (string | null)[]]>([
    ["data: 1\n\n", ["1"]],
    ["data: 1\r\n\r\ndata:2\r\n\r\n", ["1", "2"]],
    ["data: 1\r\rdata: 2\r\r", ["1", "2"]],
    ["data: a\ndata:  b\ndata\n\n", ["a\n b\n"]],
    ["\ufeffdata: 1\n\n", ["1"]],
    [": a comment\n\n", [null]],
    ["id: 7\ndata:\n\n", [null]],
    ["event: other\ndata: 1\nretry: 5\n\n", ["1"]],
    ["Data: 1\ndata : 2\ndatax: 3\n\n", [null]],
    ["\n\n\n", []],
    ["data: 1\n\ndata: ha", ["1"]],
  ])("%j", (text, data) => {
    for (const pieces of [[Buffer.from(text)], [...Buffer.from(text)].map((b) => Buffer.of(b))]) {
      const reader = new SseReader(1024);
      const events = pieces.flatMap((piece) => reader.push(piece) ?? []);
      expect(events.map((e) => e.data?.toString() ?? null)).toEqual(data);
      // Nothing is lost, and nothing is said twice.
      const raw = Buffer.concat(events.map((e) => e.raw)).toString();
      expect(text.startsWith(raw)).toBe(true);
    }
  });

  test("and say whether they can be gone on from", () => {
    const long = "x".repeat(mcpEventIdMax);
    const text = `id: 7\ndata: 1\n\ndata: 2\n\nid:\n\nid\ndata: 3\n\nid:x y\n\nids: 1\n\nid:${long}\n\nid:${long}x\n\n`;
    const events = new SseReader(2048).push(Buffer.from(text)) ?? [];
    expect(events.map((e) => e.id)).toEqual(["7", null, null, null, "x y", null, long, null]);
  });

  test("and lines without end cost no more than their bytes", () => {
    const heap = (): number => {
      collectGarbage();
      return process.memoryUsage().heapUsed;
    };
    const lines = 500_000;
    const chunk = Buffer.from("data\n".repeat(lines));
    const reader = new SseReader(2 * chunk.length);
    const before = heap();
    expect(reader.push(chunk)).toEqual([]);
    expect(heap() - before).toBeLessThan(16 * 1024 * 1024);
    expect(reader.push(Buffer.from("\n"))?.[0]?.data).toHaveLength(lines - 1);
  });

  test("and one that is too long is none", () => {
    const reader = new SseReader(16);
    expect(reader.push(Buffer.from("data: 1\n\n"))).toHaveLength(1);
    expect(reader.push(Buffer.from(`data: ${"x".repeat(8)}`))).toEqual([]);
    expect(reader.push(Buffer.from("xxx"))).toBeNull();
  });
});

test("lines are cut out whole, and one that is too long is none", () => {
  const reader = new LineReader(4);
  const lines = ["a", "b\r\ncd", "\n\n", "efgh\n"].flatMap(
    (t) => reader.push(Buffer.from(t)) ?? [],
  );
  expect(lines.map(String)).toEqual(["ab", "cd", "", "efgh"]);
  expect(reader.atBoundary).toBe(true);
  expect(reader.push(Buffer.from("12345"))).toBeNull();
});
