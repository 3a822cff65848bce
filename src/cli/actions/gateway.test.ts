import { describe, expect, test } from "vitest";
import { Failure } from "../failure.ts";
import { type Gateway, gatewayRules } from "./gateway.ts";

const BEHIND: Gateway = { port: 15_001, interfaces: ["vm0"], exceptUid: null, dns: [] };

describe("rules of a gateway", () => {
  test("name its port, its interfaces, and resolvers of both families", () => {
    const rules = gatewayRules({
      ...BEHIND,
      interfaces: ["vm0", "vm1"],
      dns: ["10.0.0.53", "fd00::53"],
    });
    expect(rules).toContain("iifname { vm0, vm1 } meta l4proto tcp");
    expect(rules).toContain("tproxy to :15001 accept");
    expect(rules).toContain("ip daddr 10.0.0.53 udp dport 53 accept");
    expect(rules).toContain("ip6 daddr fd00::53 udp dport 53 accept");
  });

  test.each<[string, Partial<Gateway>, RegExp]>([
    ["nobody's traffic", { interfaces: [] }, /--interface or --except-uid/],
    ["both kinds of traffic", { exceptUid: 7071 }, /--interface or --except-uid/],
    ["a name that a shell would read on", { interfaces: ["a;reboot"] }, /--interface/],
    ["a name that ends the script", { interfaces: ["a\nRULES"] }, /--interface/],
    ["a name that is too long for one", { interfaces: ["a".repeat(16)] }, /--interface/],
    ["a user that is none", { interfaces: [], exceptUid: Number.NaN }, /--except-uid/],
    ["a resolver's name", { dns: ["dns.example"] }, /--dns/],
    ["a port that is none", { port: 0 }, /--port/],
    ["a port that is no number", { port: Number.NaN }, /--port/],
  ])("are not printed for %s", (_, more, why) => {
    expect(() => gatewayRules({ ...BEHIND, ...more })).toThrow(Failure);
    expect(() => gatewayRules({ ...BEHIND, ...more })).toThrow(why);
  });
});
