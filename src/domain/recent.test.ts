import { expect, test } from "vitest";
import { Recent } from "./recent.ts";

test("makes a value once, and forgets the oldest beyond its bound", () => {
  const made: string[] = [];
  const recent = new Recent<string>(2);
  const get = (key: string) =>
    recent.get(key, () => {
      made.push(key);
      return key.toUpperCase();
    });
  expect([get("a"), get("b"), get("a")]).toEqual(["A", "B", "A"]);
  expect(made).toEqual(["a", "b"]);
  expect([recent.known("a"), recent.known("c")]).toEqual(["A", null]);
  get("c");
  expect([recent.known("a"), recent.known("c")]).toEqual([null, "C"]);
  get("b");
  expect(made).toEqual(["a", "b", "c"]);
  get("a");
  expect(made).toEqual(["a", "b", "c", "a"]);
});
