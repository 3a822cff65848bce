import { domainToASCII } from "node:url";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { normaliseAuthority, normaliseGrpcPath, normaliseTarget } from "./claim.ts";
import { claimPathMax, hostMax } from "./limits.ts";

describe("a target", () => {
  test.each([
    ["Payments.Internal", "payments.internal"],
    ["payments.internal.", "payments.internal"],
    ["LOCALHOST", "localhost"],
    ["my_service", "my_service"],
    ["r3---sn-apo3qvuoxuxbt-j5pe.example", "r3---sn-apo3qvuoxuxbt-j5pe.example"],
    ["xn--bcher-kva.example", "xn--bcher-kva.example"],
    ["XN--BCHER-KVA.example", "xn--bcher-kva.example"],
    ["xn--n3h", "xn--n3h"],
    ["10.0.0.1", "10.0.0.1"],
    ["10.0.0.1.", "10.0.0.1"],
    ["1.example", "1.example"],
    ["::1", "[::1]"],
    ["[::1]", "[::1]"],
    ["::", "[::]"],
    ["[2001:DB8:0:0:0:0:0:1]", "[2001:db8::1]"],
    ["2001:db8:0:1:1:1:1:1", "[2001:db8:0:1:1:1:1:1]"],
    ["1:0:0:2:0:0:0:3", "[1:0:0:2::3]"],
    ["1:0:0:2:3:0:0:4", "[1::2:3:0:0:4]"],
    ["1:2:3:4:5:6:7::", "[1:2:3:4:5:6:7:0]"],
    ["::ffff:10.0.0.1", "10.0.0.1"],
    ["[::FFFF:0a00:0001]", "10.0.0.1"],
    ["64:ff9b::10.0.0.1", "[64:ff9b::a00:1]"],
  ])("%s is %s", (host, normal) => {
    expect(normaliseTarget(host, 443)).toBe(`${normal}:443`);
  });

  test.each([
    ["", /empty/],
    [".", /empty label/],
    ["a..b", /empty label/],
    ["a.b..", /empty label/],
    ["bücher.example", /outside ASCII/],
    ["a b", /outside ASCII/],
    ["a\u0000b", /outside ASCII/],
    ["-a.example", /inner hyphens/],
    ["a-.example", /inner hyphens/],
    ["a%2eb", /inner hyphens/],
    ["a/b", /inner hyphens/],
    ["user@host", /inner hyphens/],
    ["*.example", /inner hyphens/],
    ["xn--", /inner hyphens/],
    ["xn--a", /Punycode/],
    ["xn---n3h", /Punycode/],
    ["xn--bücher", /outside ASCII/],
    ["xn--abc-", /inner hyphens/],
    ["xn--99999999", /Punycode/],
    ["0177.0.0.1", /four decimal numbers/],
    ["0x7f.0.0.1", /four decimal numbers/],
    ["0x7f000001", /four decimal numbers/],
    ["2130706433", /four decimal numbers/],
    ["127.1", /four decimal numbers/],
    ["256.0.0.1", /four decimal numbers/],
    ["1.2.3.4.5", /four decimal numbers/],
    ["a.0x", /four decimal numbers/],
    ["fe80::1%eth0", /IPv6/],
    ["[::1", /IPv6/],
    ["::1]", /IPv6/],
    [":::", /IPv6/],
    ["1::2::3", /IPv6/],
    ["1:2:3:4:5:6:7", /IPv6/],
    ["1:2:3:4:5:6:7:8:9", /IPv6/],
    ["1:2:3:4::5:6:7:8", /IPv6/],
    ["12345::", /IPv6/],
    ["::1.2.3", /IPv6/],
    ["::01.2.3.4", /IPv6/],
    ["1.2.3.4::", /IPv6/],
    ["[10.0.0.1]", /IPv6/],
    ["[]", /IPv6/],
  ])("%j is refused", (host, why) => {
    expect(normaliseTarget(host, 443)).toMatchObject({
      code: "E_FIELD",
      detail: expect.stringMatching(why),
    });
  });

  test("names are as long as DNS allows", () => {
    const label = "a".repeat(63);
    const longest = [label, label, label, "a".repeat(61)].join(".");
    expect(longest).toHaveLength(hostMax);
    expect(normaliseTarget(longest, 1)).toBe(`${longest}:1`);
    expect(normaliseTarget(`${longest}a`, 1)).toMatchObject({ code: "E_FIELD" });
    expect(normaliseTarget(`${label}a`, 1)).toMatchObject({ code: "E_FIELD" });
  });

  test("ports are from 1 to 65535", () => {
    expect(normaliseTarget("a", 1)).toBe("a:1");
    expect(normaliseTarget("a", 65535)).toBe("a:65535");
    for (const port of [0, -1, 65536, 1.5, Number.NaN]) {
      expect(normaliseTarget("a", port)).toMatchObject({ code: "E_FIELD" });
    }
  });

  test("normal is normal: once more changes nothing", () => {
    const host = fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6(), fc.string());
    fc.assert(
      fc.property(host, fc.integer({ min: 1, max: 65535 }), (h, port) => {
        const normal = normaliseTarget(h, port);
        if (typeof normal === "string") expect(normaliseAuthority(normal, 1)).toBe(normal);
      }),
      { numRuns: 3000 },
    );
  });

  test("every A-label that the URL standard makes is one", () => {
    let made = 0;
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 1, maxLength: 8 }), (label) => {
        const ascii = domainToASCII(label);
        if (!/^xn--[a-z0-9-]*[a-z0-9]$/.test(ascii)) return;
        made++;
        expect(normaliseTarget(ascii, 1)).toBe(`${ascii}:1`);
      }),
      { numRuns: 3000 },
    );
    expect(made).toBeGreaterThan(500);
  });

  test("any spelling of an IPv6 address gives what the URL standard gives", () => {
    fc.assert(
      fc.property(fc.ipV6(), (ip) => {
        const expected = new URL(`http://[${ip}]/`).hostname;
        const normal = normaliseTarget(ip, 80) as string;
        if (!normal.startsWith("[")) expect(expected).toMatch(/^\[::ffff:/);
        else expect(normal).toBe(`${expected}:80`);
      }),
      { numRuns: 3000 },
    );
  });
});

describe("an authority", () => {
  test.each([
    ["Payments.internal", "payments.internal:443"],
    ["payments.internal:50051", "payments.internal:50051"],
    ["[::1]", "[::1]:443"],
    ["[::1]:7000", "[::1]:7000"],
    ["127.0.0.1:7000", "127.0.0.1:7000"],
  ])("%s is %s", (authority, target) => {
    expect(normaliseAuthority(authority, 443)).toBe(target);
  });

  test.each([
    "",
    ":443",
    "a:",
    "a:b",
    "a:0443",
    "a:443:1",
    "::1",
    "a:70000",
    "a@b:1",
    "[::1]x",
    "a:-1",
    "a: 1",
  ])("%j is refused", (authority) => {
    expect(normaliseAuthority(authority, 443)).toMatchObject({ code: "E_FIELD" });
  });
});

describe("a gRPC path", () => {
  test.each(["/payments.v1.Payments/Get", "/Greeter/Say_Hello2", "/_a._b/_c"])(
    "%s stands",
    (path) => {
      expect(normaliseGrpcPath(path)).toBe(path);
    },
  );

  test.each([
    "",
    "/",
    "payments/Get",
    "/payments",
    "/payments/",
    "//Get",
    "/a/b/c",
    "/a/b?x=1",
    "/a/b#c",
    "/a/../b",
    "/a/%47et",
    "/a//b",
    "/a b/c",
    "/a/b\n",
    "/.a/b",
    "/a./b",
    "/a..b/c",
    "/1a/b",
    "/ä/b",
    "/a/b*",
  ])("%j is refused", (path) => {
    expect(normaliseGrpcPath(path)).toMatchObject({ code: "E_FIELD" });
  });

  test("is bounded", () => {
    const path = `/a/${"b".repeat(claimPathMax - 3)}`;
    expect(normaliseGrpcPath(path)).toBe(path);
    expect(normaliseGrpcPath(`${path}b`)).toMatchObject({ code: "E_FIELD" });
  });
});
