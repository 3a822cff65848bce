import { describe, expect, test } from "vitest";
import { parseSidecarArgs, standingOf, UsageError } from "./config.ts";

const NEEDED = ["--data", "/var/lib/x/", "--manifest", "/srv/agent/dragon.yaml"];

test("what is not said has its default: keys beside the data, the manifest's folder, loopback", () => {
  expect(parseSidecarArgs(NEEDED)).toMatchObject({
    dataFolder: "/var/lib/x",
    keysFolder: "/var/lib/x.keys",
    agentFolder: "/srv/agent",
    proxy: { host: "127.0.0.1", port: 7071 },
    routes: [],
    agent: [],
  });
});

test("what follows -- is the agent's, flags and all", () => {
  expect(parseSidecarArgs([...NEEDED, "--", "python3", "-u", "--data"]).agent).toEqual([
    "python3",
    "-u",
    "--data",
  ]);
});

test("a route is normalised once, as claims are", () => {
  const { routes } = parseSidecarArgs([
    ...NEEDED,
    ...["--route", "127.0.0.1:9000=https://Payments.Internal.:443"],
    ...["--route", "[::1]:9001=http://[0:0::1]:8080"],
  ]);
  expect(routes).toEqual([
    { listen: { host: "127.0.0.1", port: 9000 }, scheme: "https", target: "payments.internal:443" },
    { listen: { host: "::1", port: 9001 }, scheme: "http", target: "[::1]:8080" },
  ]);
});

test("a gateway's agent cannot go round it, and every receipt says so", () => {
  const config = parseSidecarArgs([...NEEDED, "--gateway", "[::]:15001"]);
  expect(config.gateway).toEqual({ host: "::", port: 15_001 });
  expect(standingOf(config).enforcement).toBe("GATEWAY");
  expect(standingOf(parseSidecarArgs(NEEDED)).enforcement).toBe("ADVISORY");
});

describe("what cannot be used is refused, naming the flag", () => {
  test.each([
    [["--manifest", "m"], /--data is missing/],
    [["--data", "d"], /--manifest is missing/],
    [[...NEEDED, "--proxy", "7071"], /--proxy: 7071 is not HOST:PORT/],
    [[...NEEDED, "--proxy", "127.0.0.1:70000"], /--proxy/],
    [[...NEEDED, "--gateway", "15001"], /--gateway: 15001 is not HOST:PORT/],
    [[...NEEDED, "--gateway", "[::]:0"], /--gateway: \[::\]:0 has no port/],
    [[...NEEDED, "--route", "9000"], /--route: 9000 is not LISTEN=UPSTREAM/],
    [[...NEEDED, "--route", "127.0.0.1:1=ftp://x:1"], /--route: upstream ftp:/],
    [[...NEEDED, "--route", "127.0.0.1:1=http://0x7f.1:80"], /--route/],
    [[...NEEDED, "--unknown"], /--unknown/],
  ])("%j", (args, message) => {
    expect(() => parseSidecarArgs(args)).toThrow(UsageError);
    expect(() => parseSidecarArgs(args)).toThrow(message);
  });
});
