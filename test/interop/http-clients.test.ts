import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { agentEnvironment } from "../../sidecar/agent/environment.ts";
import type { Rule } from "../../src/domain/rule.ts";
import { createCa, issueServer } from "../../src/native/pki.ts";
import { BIG, type HttpPeers, sha256, startPeers } from "./http/server.ts";
import { CREDENTIAL, countVerdicts, openSidecar, type Sidecar } from "./rig.ts";

/**
 * Every client here is a program of its own that knows nothing of Dragons. Each runs twice, straight and
 * with the environment that the sidecar gives its agent, and must print the same to the byte.
 */
const SOURCES = join(import.meta.dirname, "http");
let sidecar: Sidecar;
let peers: HttpPeers;
let folder: string;
let straight: NodeJS.ProcessEnv;
let governed: NodeJS.ProcessEnv;

/** Everything at one place, for all methods. */
const everything = (target: string, scheme: "HTTP" | "HTTPS"): Rule[] =>
  ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"].flatMap((verb) =>
    ["/*", "/*/*", "/*/*/*"].map((path) => {
      return { protocol: "HTTP", target, verb, path, when: "", scheme };
    }),
  );

beforeAll(async () => {
  const nowUs = Date.now() * 1000;
  folder = mkdtempSync(join(tmpdir(), "dragons-clients-"));
  const upstreams = await createCa("Upstreams", { nowUs, ttlUs: 3.6e9 });
  const leaf = await issueServer(upstreams, ["localhost"], { nowUs, ttlUs: 3.6e9 });
  peers = await startPeers({ cert: leaf.certPem, key: leaf.keyPem });
  sidecar = await openSidecar({
    granted: {},
    upstreamCa: upstreams.certPem,
    rules: [
      ...everything(`localhost:${peers.http}`, "HTTP"),
      ...everything(`localhost:${peers.https}`, "HTTPS"),
    ],
  });
  const files = { upstreams: upstreams.certPem, sidecar: sidecar.ca.certPem };
  for (const [name, pem] of Object.entries(files)) writeFileSync(join(folder, `${name}.pem`), pem);
  const { host, port } = sidecar.stack.proxyAddress;
  const environment = (ca: string) =>
    agentEnvironment(process.env, {
      address: `${host}:${port}`,
      credential: CREDENTIAL,
      caFile: join(folder, `${ca}.pem`),
      bundleFile: join(folder, `${ca}.pem`),
    });
  governed = environment("sidecar");
  straight = environment("upstreams");
  for (const name of Object.keys(straight).filter((n) => /_proxy$/i.test(n))) delete straight[name];
});
afterAll(async () => {
  await sidecar.close();
  peers.close();
  rmSync(folder, { recursive: true, force: true });
});

/** What a program prints, and how it ended. */
async function run(
  env: NodeJS.ProcessEnv,
  command: string,
  args: readonly string[],
): Promise<string> {
  const child = spawn(command, args, { env, cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  let [output, errors] = ["", ""];
  child.stdout.on("data", (c) => {
    output += c.toString("latin1");
  });
  child.stderr.on("data", (c) => {
    errors += c;
  });
  const [code] = (await once(child, "close")) as [number | null];
  return code === 0 ? output : `${output}\nexit ${code}: ${errors}`;
}

const installed = (program: string): boolean =>
  (process.env.PATH ?? "").split(delimiter).some((d) => existsSync(join(d, program)));

/** Runs it both ways. @returns what it printed, which was the same. */
async function both(
  command: string,
  args: readonly string[],
  more: { straight?: readonly string[]; governed?: readonly string[] } = {},
): Promise<string> {
  await settled();
  const before = sidecar.receipts().length;
  const first = await run(straight, command, [...args, ...(more.straight ?? [])]);
  expect(sidecar.receipts()).toHaveLength(before);
  const second = await run(governed, command, [...args, ...(more.governed ?? [])]);
  expect(endToEnd(second)).toBe(endToEnd(first));
  expect(first).not.toMatch(/exit \d/);
  await settled();
  expect(sidecar.receipts().length).toBeGreaterThan(before);
  return first;
}

async function settled(): Promise<void> {
  await sidecar.gate.idle();
  await sidecar.ledger.flushed();
}

/** Without the fields that are of one connection, and so differ. */
const endToEnd = (printed: string): string =>
  printed.replace(/^(?:connection|keep-alive): .*\r\n/gim, "");

describe.each(["http", "https"] as const)(
  "by %s, the same with and without the sidecar:",
  (scheme) => {
    const base = () => `${scheme}://localhost:${peers[scheme]}`;

    test.skipIf(!installed("curl"))("curl", async () => {
      const file = join(folder, "big");
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
        const seen = await both("curl", ["-sS", "-i", ...flags, ...urls.map((u) => base() + u)], {
          // CONNECT's own answer is none of the server's; and HTTP/1.1 is what this server speaks.
          governed: ["--suppress-connect-headers"],
        });
        if (path === "/big" && flags.length === 0) {
          const body = Buffer.from(seen.slice(seen.indexOf("\r\n\r\n") + 4), "latin1");
          expect(sha256(body)).toBe(sha256(BIG));
        }
      }
    });

    test.skipIf(!installed("curl"))(
      "curl, when it waits to be asked for its credential",
      async () => {
        await both("curl", ["-sS", `${base()}/echo`], { governed: ["--proxy-anyauth"] });
      },
    );

    test.skipIf(!installed("python3"))("urllib of Python", async () => {
      const seen = await both("python3", [join(SOURCES, "client.py"), base()]);
      expect(seen.split("\n")).toHaveLength(15);
    });

    test("fetch and node:http of Node", async () => {
      const seen = await both(process.execPath, [join(SOURCES, "client.mjs"), base(), "websocket"]);
      expect(seen).toContain('["WebSocket","closed",1000,true]');
      expect(seen).toContain(sha256(BIG));
    });

    test.skipIf(!installed("java"))("java.net.http of Java", async () => {
      const store = join(folder, `trust-${scheme}.p12`);
      for (const ca of ["upstreams", "sidecar"]) {
        const args = ["-importcert", "-noprompt", "-alias", ca, "-file", join(folder, `${ca}.pem`)];
        const more = ["-keystore", store, "-storepass", "changeit", "-storetype", "PKCS12"];
        await run(straight, "keytool", [...args, ...more]);
      }
      const { host, port } = sidecar.stack.proxyAddress;
      const args = [
        `-Djavax.net.ssl.trustStore=${store}`,
        "-Djavax.net.ssl.trustStorePassword=changeit",
        "-Djdk.http.auth.tunneling.disabledSchemes=",
        "-Djdk.internal.httpclient.disableHostnameVerification=false",
        join(SOURCES, "Client.java"),
        base(),
      ];
      await both("java", args, { governed: [host, String(port), "agent", CREDENTIAL] });
    });
  },
);

test("every request of theirs has one receipt, and none was refused but those that showed no credential", () => {
  const counts = countVerdicts(sidecar.receipts());
  expect(counts.INDETERMINATE ?? 0).toBe(0);
  expect(counts.CUT ?? 0).toBe(0);
  const refused = sidecar.receipts().filter((r) => r.verdict === "DENIED");
  expect(new Set(refused.map((r) => r.reason))).toEqual(new Set(["CALLER_UNIDENTIFIED"]));
});
