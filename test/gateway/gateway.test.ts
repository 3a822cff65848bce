import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { gatewayRemoval, gatewayRules } from "../../src/cli/actions/gateway.ts";
import { lacks } from "../skips.ts";
import type { Attempt } from "./agent.ts";
import type { ChildOptions, Told } from "./child.ts";
import { Namespaces, type Talker } from "./namespaces.ts";

/**
 * A gateway between network namespaces, captured by the very rules that `dragons gateway rules` prints,
 * for machines behind an interface and for whoever shares a namespace with it; by IPv4 and IPv6.
 */

const PORT = 15_001;
const NAMES: ChildOptions["names"] = {
  "world.example": ["203.0.113.7", "2001:DB8:5:0:0:0:0:7"],
  "bank.example": ["203.0.113.7"],
  "elsewhere.example": ["203.0.113.8"],
  "own.example": ["10.97.0.2"],
};
const V4 = "203.0.113.7";
const V6 = "2001:db8:5::7";
const get = (host: string, path = "/ok"): string =>
  `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;

let spaces: Namespaces;
let world: Talker;
let upstreamCa: string;

beforeAll(async () => {
  if (lacks("netns")) return;
  spaces = Namespaces.open();
  world = await spaces.start("world", "world.ts");
  upstreamCa = (await world.next<{ ca: string }>()).ca;
});
afterAll(async () => {
  if (!lacks("netns")) await spaces.close();
});

/** Everybody that the world has heard of since it was asked last. */
const heard = () => world.ask<string[]>("?");

/** Look-ups and QUIC, as they would leave without a gateway. */
const UDP = [V4, V6].flatMap((address) =>
  [53, 443].map((port): Attempt => ({ address, port, udp: true, say: "out" })),
);

describe.skipIf(lacks("netns")).each([
  ["behind an interface", { interfaces: ["vm0"], exceptUid: null }, "behind", [], []],
  [
    "beside the sidecar, as another user",
    { interfaces: [], exceptUid: 7071 },
    "middle",
    [
      "setpriv",
      "--reuid=7071",
      "--clear-groups",
      "--inh-caps=+net_admin",
      "--ambient-caps=+net_admin",
    ],
    ["setpriv", "--reuid=1000", "--clear-groups", "--inh-caps=-all"],
  ],
] as const)("a gateway for whoever is %s", (_, whose, place, gatewayAs, agentAs) => {
  const rules = { port: PORT, dns: [], ...whose };
  let gateway: Talker;
  let ca: string;
  let receipts = 0;

  const tries = (...attempts: Attempt[]) => spaces.tries(place, attempts, [...agentAs]);
  const one = (address: string, port: number, say: string): Attempt => ({ address, port, say });
  /** The receipts of what was tried since the last time. */
  const told = async (count: number): Promise<Told[]> => {
    const all = await gateway.ask<Told[]>(String(receipts + count));
    // Those of denials stand behind the others.
    const fresh = all.filter((r) => !known.has(JSON.stringify(r)));
    for (const r of all) known.add(JSON.stringify(r));
    receipts = all.length;
    return fresh;
  };
  const known = new Set<string>();

  beforeAll(async () => {
    // Without the rules everything is open, so that what is closed later is closed by them.
    expect(await tries(one(V4, 8080, get("x")), one(V6, 8080, get("x")))).toEqual([
      "HTTP/1.1 200 OK",
      "HTTP/1.1 200 OK",
    ]);
    await tries(...UDP);
    // Each of the two sockets out there reads when it comes to it.
    const out: string[] = [];
    while (out.length < UDP.length) out.push(...(await heard()).filter((h) => h.startsWith("udp")));
    expect(out.sort()).toEqual(["udp 443", "udp 443", "udp 53", "udp 53"]);
    const options: ChildOptions = {
      port: PORT,
      names: NAMES,
      upstreamCa,
      opaque: "bank.example:8443",
    };
    gateway = await spaces.start("middle", "child.ts", options, [...gatewayAs]);
    ca = (await gateway.next<{ ca: string }>()).ca;
    spaces.sh("middle", gatewayRules(rules));
    await heard();
  });
  afterAll(async () => {
    await gateway?.close();
    spaces.sh("middle", gatewayRemoval());
  });

  test("judges HTTP by its Host, and dials the address that was dialled", async () => {
    expect(
      await tries(
        one(V4, 8080, get("world.example:8080")),
        one(V6, 8080, get("world.example:8080")),
        one(V4, 8080, get("world.example:8080", "/secret")),
      ),
    ).toEqual(["HTTP/1.1 200 OK", "HTTP/1.1 200 OK", "HTTP/1.1 403 SCOPE_NOT_GRANTED"]);
    const target = "world.example:8080";
    expect(await told(3)).toEqual([
      {
        verdict: "COMPLETED",
        reason: "UNSPECIFIED",
        target,
        protocol: "HTTP",
        dialled: `${V4}:8080`,
      },
      {
        verdict: "COMPLETED",
        reason: "UNSPECIFIED",
        target,
        protocol: "HTTP",
        dialled: `[${V6}]:8080`,
      },
      { verdict: "DENIAL", reason: "SCOPE_NOT_GRANTED", target, protocol: "HTTP", dialled: "" },
    ]);
    expect(await heard()).toEqual([`tcp ${V4} 8080`, `tcp ${V6} 8080`]);
  });

  test("looks into TLS by its server name, and passes on unread what is opaque", async () => {
    const tls = (serverName: string, ca: string, host = `${serverName}:8443`): Attempt => ({
      ...one(V4, 8443, get(host)),
      tls: { serverName, ca },
    });
    expect(
      await tries(
        tls("world.example", ca),
        tls("bank.example", upstreamCa),
        tls("world.example", ca, "bank.example:8443"),
        // Its names are the world's own certificate's, and not the sidecar's.
        tls("world.example", upstreamCa),
      ),
    ).toEqual([
      "HTTP/1.1 200 OK",
      "HTTP/1.1 200 OK",
      "HTTP/1.1 403 AUTHORITY_MISMATCH",
      expect.stringMatching(/UNABLE_TO_VERIFY|SELF_SIGNED|certificate/i),
    ]);
    expect(await told(4)).toEqual([
      expect.objectContaining({
        verdict: "COMPLETED",
        protocol: "HTTP",
        target: "world.example:8443",
      }),
      expect.objectContaining({ verdict: "COMPLETED", protocol: "OPAQUE", dialled: `${V4}:8443` }),
      expect.objectContaining({ verdict: "DENIAL", reason: "AUTHORITY_MISMATCH" }),
      expect.objectContaining({ verdict: "DENIAL", reason: "PROTOCOL_UNSUPPORTED" }),
    ]);
    expect(await heard()).toEqual([`tcp ${V4} 8443`, `tcp ${V4} 8443`]);
  });

  test("refuses a name that does not lead to the address that was dialled", async () => {
    expect(
      await tries(
        one(V4, 8080, get("elsewhere.example:8080")),
        one("203.0.113.8", 8080, get("world.example:8080")),
        one(V4, 8080, get("nowhere.example:8080")),
        one(V4, 8080, get("world.example:9090")),
        one(V4, 8080, get("203.0.113.8:8080")),
      ),
    ).toEqual([
      "HTTP/1.1 403 AUTHORITY_MISMATCH",
      "HTTP/1.1 403 AUTHORITY_MISMATCH",
      "HTTP/1.1 502 UPSTREAM_UNREACHABLE",
      "HTTP/1.1 403 AUTHORITY_MISMATCH",
      "HTTP/1.1 403 AUTHORITY_MISMATCH",
    ]);
    await told(5);
    expect(await heard()).toEqual([]);
  });

  test("has no circle: neither its own port nor a name for it leads anywhere", async () => {
    const answers = await tries(
      one("10.97.0.2", PORT, get("own.example:15001")),
      one("10.99.0.1", PORT, get(`10.99.0.1:${PORT}`)),
      one("2001:db8:99::1", PORT, get(`[2001:db8:99::1]:${PORT}`)),
    );
    expect(answers).toEqual(Array(3).fill("HTTP/1.1 403 TARGET_FORBIDDEN"));
    for (const { reason } of await told(1)) expect(reason).toBe("TARGET_FORBIDDEN");
  });

  test("lets nothing else out: no UDP, and no bytes that nobody can judge", async () => {
    await tries(...UDP);
    expect(await tries(one(V4, 8080, "SSH-2.0-x\r\n"), one(V6, 22, "\0\0"))).toEqual([
      "closed",
      "closed",
    ]);
    for (const { reason } of await told(1)) expect(reason).toBe("PROTOCOL_UNSUPPORTED");
    expect(await heard()).toEqual([]);
  });
});
