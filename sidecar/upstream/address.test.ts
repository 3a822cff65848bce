import { describe, expect, test } from "vitest";
import { isForbidden, namesAddress, splitTarget } from "./address.ts";

describe("an address that a name resolved to", () => {
  test.each([
    "127.0.0.1",
    "10.1.2.3",
    "172.31.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "198.18.0.7",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "2001:0:7f00:1::",
  ])("%s is forbidden", (address) => {
    expect(isForbidden(address, "api.example.com")).toBe(true);
  });

  test.each(["203.0.113.7", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111"])(
    "%s may be dialled",
    (address) => expect(isForbidden(address, "api.example.com")).toBe(false),
  );
});

describe("a name that only exists at home", () => {
  const own = ["10.1.2.3", "172.31.0.1", "192.168.1.1", "100.64.0.1", "fd12::1"];
  test.each(own)("may lead to %s", (address) => {
    expect(isForbidden(address, "payments.internal")).toBe(false);
    expect(isForbidden(address, "db.prod.svc.cluster.local")).toBe(false);
  });
  test.each(own)("and one that only sounds like it may not: %s", (address) => {
    expect(isForbidden(address, "internal")).toBe(true);
    expect(isForbidden(address, "payments.internal.example.com")).toBe(true);
    expect(isForbidden(address, "notinternal")).toBe(true);
  });
  test.each([
    "127.0.0.1",
    "169.254.169.254",
    "::1",
    "fe80::1",
    "fd00:ec2::254",
    "fd00:ec2:0::254",
    "fd20:ce::254",
    "100.100.100.200",
    "::ffff:127.0.0.1",
  ])("never to %s", (address) => expect(isForbidden(address, "payments.internal")).toBe(true));
});

test("a target is split at its last colon", () => {
  expect(splitTarget("payments.internal:443")).toEqual({ host: "payments.internal", port: 443 });
  expect(splitTarget("[2001:db8::1]:7000")).toEqual({ host: "2001:db8::1", port: 7000 });
});

test.each([
  ["127.0.0.1:50051", true],
  ["[::1]:50051", true],
  ["localhost:50051", true],
  ["localhost.evil.com:50051", false],
  ["payments.internal:443", false],
])("%s names its address: %s", (target, yes) => expect(namesAddress(target)).toBe(yes));
