import { describe, expect, test } from "vitest";
import { fieldNames, formatTimeout, parseTimeout, requestFields, single } from "./grpc-headers.ts";

describe("header fields", () => {
  test("keep their order and every repeat on the way up", () => {
    expect(
      requestFields([":path", "/a/b", "x-b-bin", "AQ", "te", "trailers", "x-b-bin", "Ag"]),
    ).toEqual(["x-b-bin", "AQ", "te", "trailers", "x-b-bin", "Ag"]);
  });

  test("that belong to the hop, the proxy or the sidecar stay behind", () => {
    expect(
      requestFields([
        "connection",
        "close",
        "proxy-authorization",
        "Basic x",
        "x-dragons-lease",
        "forged",
        "host",
        "a",
        "grpc-timeout",
        "1S",
        "user-agent",
        "g",
      ]),
    ).toEqual(["user-agent", "g"]);
  });

  test("are named once each, sorted, without pseudo-header fields", () => {
    const raw = [":path", "/", "te", "trailers", "a", "1", "te", "x"];
    expect(fieldNames(raw)).toEqual(["a", "te"]);
    expect(fieldNames(raw)).toEqual(["a", "te"]);
    expect(fieldNames([])).toEqual([]);
  });

  test("that must be single are told apart from those that repeat", () => {
    expect(single(["a", "1"], "a")).toBe("1");
    expect(single(["a", "1"], "b")).toBeNull();
    expect(single(["a", "1", "a", "1"], "a")).toBeUndefined();
  });
});

describe("grpc-timeout", () => {
  test.each([
    ["1H", 3_600_000_000],
    ["250m", 250_000],
    ["7u", 7],
    ["1500n", 2],
    ["99999999S", 99_999_999_000_000],
  ])("%s is %d µs", (text, us) => expect(parseTimeout(text)).toBe(us));

  test.each(["", "1", "S", "-1S", "1s", "123456789S", "1.5S", " 1S"])("%j is malformed", (text) =>
    expect(parseTimeout(text)).toBeNull(),
  );

  test.each([
    [0, "0u"],
    [99_999_999, "99999999u"],
    [100_000_500, "100000m"],
    [99_999_999_000_000, "99999999S"],
  ])("%d µs is said as %s", (us, text) => expect(formatTimeout(us)).toBe(text));
});
