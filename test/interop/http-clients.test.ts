import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { lacks } from "../skips.ts";
import { type Bench, everything, openBench } from "./http/run.ts";
import { BIG, type HttpPeers, sha256, startPeers } from "./http/server.ts";
import { CREDENTIAL, countVerdicts } from "./rig.ts";

/**
 * Every client here is a program of its own that knows nothing of Dragons. Each runs twice, straight and
 * with the environment that the sidecar gives its agent, and must print the same to the byte.
 */
const SOURCES = join(import.meta.dirname, "http");
// Programs of others take their time to start on a busy machine.
vi.setConfig({ testTimeout: 120_000 });

let bench: Bench;
let peers: HttpPeers;

beforeAll(async () => {
  bench = await openBench(async (leaf) => {
    peers = await startPeers({ cert: leaf.certPem, key: leaf.keyPem });
    return [
      ...everything(`localhost:${peers.http}`, "HTTP"),
      ...everything(`localhost:${peers.https}`, "HTTPS"),
      ...everything(`localhost:${peers.http2}`, "HTTPS"),
    ];
  });
});
afterAll(async () => {
  await bench.close();
  peers.close();
});

/** Runs it both ways. @returns what it printed, which was the same. */
async function both(
  command: string,
  args: readonly string[],
  governed: readonly string[] = [],
): Promise<string> {
  const receipts = () => bench.sidecar.receipts();
  await bench.settled();
  const before = receipts().length;
  const first = await bench.run(bench.straight, command, args);
  expect(receipts()).toHaveLength(before);
  const second = await bench.run(bench.governed, command, [...args, ...governed]);
  expect(endToEnd(second)).toBe(endToEnd(first));
  expect(first).not.toMatch(/exit \d/);
  await bench.settled();
  expect(receipts().length).toBeGreaterThan(before);
  return first;
}

/** Without the fields that are of one connection, and so differ. */
const endToEnd = (printed: string): string =>
  printed.replace(/^(?:connection|keep-alive): .*\r\n/gim, "");

describe.each(["http", "https"] as const)(
  "by %s, the same with and without the sidecar:",
  (scheme) => {
    const base = () => `${scheme}://localhost:${peers[scheme]}`;

    test.skipIf(lacks("curl"))("curl", async () => {
      const file = join(bench.folder, "big");
      writeFileSync(file, BIG);
      const calls: string[][] = [
        ["/echo?a=1&b=%2F..", "-H", "X-Custom: Mixed", "-b", "a=b"],
        ["/echo", "-d", "hello"],
        ["/echo", "-T", file],
        ["/echo", "-T", file, "-H", "Expect: 100-continue"],
        ["/echo", "-T", "-", "-H", "Transfer-Encoding: chunked"],
        ["/echo", "-X", "DELETE"],
        ["/big", "-I"],
        ["/big"],
        ["/chunked"],
        ["/gzip", "--compressed"],
        ["/gzip"],
        ["/redirect", "-L"],
        ["/empty"],
        ["/missing"],
        ["/close"],
        ["/echo", "/echo", "/echo"],
      ];
      for (const [path, ...rest] of calls) {
        const urls = [path, ...rest.filter((a) => a.startsWith("/") && a !== file)];
        const flags = rest.filter((a) => !a.startsWith("/") || a === file);
        const seen = await both(
          "curl",
          ["-sS", "-i", "--http1.1", ...flags, ...urls.map((u) => base() + u)],
          [
            // CONNECT\'s own answer is none of the server\'s.
            "--suppress-connect-headers",
          ],
        );
        if (path === "/big" && flags.length === 0) {
          const body = Buffer.from(seen.slice(seen.indexOf("\r\n\r\n") + 4), "latin1");
          expect(sha256(body)).toBe(sha256(BIG));
        }
      }
    });

    test.skipIf(lacks("curl"))("curl by HTTP/2, which the server does not speak", async () => {
      // By CONNECT for http too: it is HTTP/2 from the start, without asking.
      const args = ["-sS", "-w", "%{http_code} %{size_download}\\n", "-d", "hello"];
      const how = scheme === "http" ? ["--http2-prior-knowledge", "--proxytunnel"] : ["--http2"];
      await both("curl", [...args, `${base()}/echo`], how);
      await both("curl", [...args, `${base()}/missing`], how);
    });

    test.skipIf(lacks("curl"))("curl, when it waits to be asked for its credential", async () => {
      await both("curl", ["-sS", `${base()}/echo`], ["--proxy-anyauth"]);
    });

    test.skipIf(lacks("python3"))("urllib of Python", async () => {
      const seen = await both("python3", [join(SOURCES, "client.py"), base()]);
      expect(seen.split("\n")).toHaveLength(15);
    });

    test("fetch and node:http of Node", async () => {
      const seen = await both(process.execPath, [join(SOURCES, "client.mjs"), base(), "websocket"]);
      expect(seen).toContain('["WebSocket","closed",1000,true]');
      expect(seen).toContain(sha256(BIG));
    });

    test.skipIf(lacks("java"))("java.net.http of Java", () => java(base()));

    test.skipIf(lacks("go"))("net/http of Go", async () => {
      const seen = await go(base(), "http1");
      expect(seen.match(/^\S+ HTTP\/1\.1 /gm)).toHaveLength(12);
    });
  },
);

describe("by HTTP/2, the same with and without the sidecar:", () => {
  const base = () => `https://localhost:${peers.http2}`;

  test.skipIf(lacks("curl"))("curl", async () => {
    const file = join(bench.folder, "big");
    writeFileSync(file, BIG);
    const calls = [["/echo?a=1&b=%2F..", "-H", "X-Custom: Mixed"], ["/echo", "-T", file], ["/big"]];
    for (const [path, ...flags] of [...calls, ["/big", "-I"], ["/chunked"], ["/redirect", "-L"]]) {
      const args = ["-sS", "-i", "--http2", ...flags, base() + path];
      const seen = await both("curl", args, ["--suppress-connect-headers"]);
      expect(seen).toMatch(/^HTTP\/2 /);
    }
  });

  test("node:http2 of Node", async () => {
    const seen = await both(process.execPath, [join(SOURCES, "client-http2.mjs"), base()]);
    expect(seen.trim().split("\n")).toHaveLength(15);
    expect(seen).toContain(sha256(BIG));
  });

  test.skipIf(lacks("java"))("java.net.http of Java", () => java(base()));

  test.skipIf(lacks("go"))("net/http of Go", async () => {
    const seen = await go(base(), "http2");
    expect(seen.match(/^\S+ HTTP\/2\.0 /gm)).toHaveLength(12);
  });
});

async function java(base: string): Promise<void> {
  const store = join(bench.folder, "trust.p12");
  for (const ca of existsSync(store) ? [] : ["upstreams", "sidecar"]) {
    const file = join(bench.folder, `${ca}.pem`);
    const args = ["-importcert", "-noprompt", "-alias", ca, "-file", file];
    const more = ["-keystore", store, "-storepass", "changeit", "-storetype", "PKCS12"];
    await bench.run(bench.straight, "keytool", [...args, ...more]);
  }
  const { host, port } = bench.sidecar.stack.proxyAddress;
  const args = [
    `-Djavax.net.ssl.trustStore=${store}`,
    "-Djavax.net.ssl.trustStorePassword=changeit",
    "-Djdk.http.auth.tunneling.disabledSchemes=",
    "-Djdk.internal.httpclient.disableHostnameVerification=false",
    join(SOURCES, "Client.java"),
    base,
  ];
  await both("java", args, [host, String(port), "agent", CREDENTIAL]);
}

async function go(base: string, version: "http1" | "http2"): Promise<string> {
  const program = join(bench.folder, "go-client");
  if (!existsSync(program)) {
    const build = ["build", "-o", program, join(SOURCES, "client.go")];
    expect(await bench.run({ ...process.env, CGO_ENABLED: "0" }, "go", build)).toBe("");
  }
  return both(program, [base, version]);
}

test("every request of theirs has one receipt, and none was refused but those that showed no credential", () => {
  const counts = countVerdicts(bench.sidecar.receipts());
  expect(counts.INDETERMINATE ?? 0).toBe(0);
  expect(counts.CUT ?? 0).toBe(0);
  const refused = bench.sidecar.receipts().filter((r) => r.verdict === "DENIED");
  expect(new Set(refused.map((r) => r.reason))).toEqual(new Set(["CALLER_UNIDENTIFIED"]));
});
