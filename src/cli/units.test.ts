import { describe, expect, test } from "vitest";
import { Failure } from "./failure.ts";
import {
  parseBytes,
  parseChoice,
  parseCount,
  parseDuration,
  plural,
  showBytes,
  showDuration,
  showLeft,
  showRule,
  showTime,
} from "./units.ts";

describe("what is typed", () => {
  test.each([
    ["1ms", 1000],
    ["60s", 60_000_000],
    ["30m", 1_800_000_000],
    ["24h", 86_400_000_000],
    ["365d", 31_536_000_000_000],
  ])("%s is %d microseconds", (text, us) => {
    expect(parseDuration(text, "--ttl")).toBe(us);
  });

  test.each(["", "60", "0s", "-1s", "1.5h", "1 h", "1w", "99999999999s", "1s "])(
    "%j is no length of time, and the flag is named",
    (text) => {
      expect(() => parseDuration(text, "--ttl")).toThrow(/^--ttl: /);
      expect(() => parseDuration(text, "--ttl")).toThrow(Failure);
    },
  );

  test.each(["", "0", "-1", "1.0", "1e3", "0x10", "9999999999999999"])("%j is no count", (text) => {
    expect(() => parseCount(text, "--limit")).toThrow(/^--limit: .* is no whole number from 1$/);
  });

  test.each([
    ["0", 0],
    ["4096", 4096],
    ["1B", 1],
    ["64kB", 64_000],
    ["1MB", 1_000_000],
    ["2TB", 2_000_000_000_000],
  ])("%s is %d bytes", (text, bytes) => {
    expect(parseBytes(text, "--scope")).toBe(bytes);
  });

  test.each(["", "MB", "1mb", "1 MB", "1.5MB", "-1B", "1KB", "1KiB", "99999999999TB"])(
    "%j is no amount of bytes",
    (text) => {
      expect(() => parseBytes(text, "--scope")).toThrow(/^--scope: .* is no amount of bytes/);
    },
  );

  test("a count begins where it is said to", () => {
    expect(parseCount("0", "--at", 0)).toBe(0);
    expect(parseCount("42", "--limit")).toBe(42);
  });

  test("a choice may be typed in any case, with hyphens, but never as UNSPECIFIED", () => {
    const states = ["UNSPECIFIED", "RUNNING", "LEASE_ZERO"] as const;
    expect(parseChoice("running", "--state", states)).toBe("RUNNING");
    expect(parseChoice("lease-zero", "--state", states)).toBe("LEASE_ZERO");
    for (const wrong of ["unspecified", "", "run"]) {
      expect(() => parseChoice(wrong, "--state", states)).toThrow(
        /is none of running, lease_zero$/,
      );
    }
  });
});

describe("what is shown", () => {
  test("times to the second, and none as a dash", () => {
    expect(showTime(1_795_388_248_597_000)).toBe("2026-11-22T22:57:28Z");
    expect(showTime(0)).toBe("-");
  });

  test.each([
    [250_000, "250ms"],
    [1_500_000, "1.5s"],
    [59_900_000, "60s"],
    [90_000_000, "1.5m"],
    [86_400_000_000, "1d"],
    [0, "0ms"],
  ])("%d microseconds as %s", (us, text) => {
    expect(showDuration(us)).toBe(text);
  });

  test("rules and counts as people say them", () => {
    const grpc = {
      protocol: "GRPC",
      verb: "",
      path: "/p.v1.P/*",
      target: "p:443",
      when: "",
    } as const;
    const http = { protocol: "HTTP", verb: "POST", path: "/v1", target: "l:80" } as const;
    const mcp = { protocol: "MCP", verb: "tools/list", path: "", target: "tracker" } as const;
    expect(showRule({ ...grpc, scheme: "UNSPECIFIED" })).toBe("grpc p.v1.P/* at p:443");
    expect(showRule({ ...grpc, scheme: "HTTPS" })).toBe("grpc p.v1.P/* at https://p");
    expect(showRule({ ...http, scheme: "HTTP", when: "json.a" })).toBe(
      "http POST http://l/v1 when json.a",
    );
    expect(showRule({ ...mcp, scheme: "UNSPECIFIED", when: "" })).toBe("mcp tools/list at tracker");
    const opaque = { protocol: "OPAQUE", verb: "", path: "", target: "bank:443" } as const;
    expect(showRule({ ...opaque, scheme: "HTTPS", when: "" })).toBe("opaque bank:443");
    expect([plural(1, "byte"), plural(0, "byte")]).toEqual(["1 byte", "0 bytes"]);
  });
});

describe("what is left", () => {
  test("is said in words, limit by limit, and where there is none", () => {
    const none = { actions: null, bytes: null, perMinute: null, atOnce: null };
    const some = { actions: 1, bytes: 1_250_000, perMinute: 60, atOnce: 0 };
    expect(showLeft([])).toBe("-");
    expect(showLeft([{ scope: "a", ...none }])).toBe("a unlimited");
    expect(
      showLeft([
        { scope: "a", ...some },
        { scope: "b", ...none, actions: 40 },
      ]),
    ).toBe("a 1 action, 1.3MB, 60 a minute, 0 at once; b 40 actions");
  });

  test.each([
    [0, "0B"],
    [999, "999B"],
    [1000, "1kB"],
    [64_000, "64kB"],
    [2_000_000_000, "2GB"],
  ])("%d bytes are shown as %s", (bytes, text) => {
    expect(showBytes(bytes)).toBe(text);
  });
});
