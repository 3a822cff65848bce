import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createCa, issueServer } from "../../src/native/pki.ts";
import { CASES, type Expected, GZIP_ECHO } from "./cases.ts";
import { CREDENTIAL, countVerdicts, openSidecar, type Sidecar } from "./rig.ts";
import { run } from "./run.ts";
import { openService, type Saw, type Service } from "./service.ts";

/** What a client saw of one call. */
interface Observation {
  code: number;
  details: string;
  head: [string, string][];
  messages: string[];
  trailers: [string, string][];
}

const PYTHON = "/usr/bin/python3";
const noGrpcio =
  spawnSync(PYTHON, ["-c", "import grpc"]).status === 0
    ? ""
    : `${PYTHON} has no grpc module: apt-get install python3-grpcio`;
const CLIENTS = [
  {
    client: "grpc-js",
    argv: [process.execPath, join(import.meta.dirname, "client.ts")],
    lacks: "",
  },
  { client: "grpcio", argv: [PYTHON, join(import.meta.dirname, "client.py")], lacks: noGrpcio },
] as const;
const FORBIDDEN = "/grpc.testing.Forbidden/Call";
const [EMPTY] = CASES;

/**
 * Everything that either end sees through the sidecar is what it sees without one, except what
 * differs between any two calls: the answer's `date`, and of a call whose deadline passes all but its
 * code, since whichever clock strikes first tells it in its own words.
 */
function comparable(seen: Observation): Observation {
  const undated = (fields: Observation["head"]) => fields.filter(([name]) => name !== "date");
  const same = { ...seen, head: undated(seen.head), trailers: undated(seen.trailers) };
  return seen.code === 4 ? { ...same, details: "", trailers: [] } : same;
}

const values = (fields: readonly [string, string][], name: string): string[] =>
  fields.filter(([n]) => n === name).map(([, v]) => v);

function expectTold(seen: Observation, expected: Expected): void {
  const { code, details = seen.details, sizes, head = {}, trailers = {} } = expected;
  expect(seen).toMatchObject({ code, details });
  expect(seen.messages.map((m) => Number(m.split(" ")[0]))).toEqual(sizes);
  for (const [name, all] of Object.entries(head)) expect(values(seen.head, name)).toEqual(all);
  for (const [name, all] of Object.entries(trailers)) {
    expect(values(seen.trailers, name)).toEqual(all);
  }
}

describe.each(["plaintext", "TLS"] as const)("over %s", (transport) => {
  let service: Service;
  let sidecar: Sidecar;
  let folder: string;
  /** The CA files that clients trust, direct and through. */
  let roots: Record<"direct" | "through", string>;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "dragons-interop-"));
    const options = { nowUs: Date.now() * 1000, ttlUs: 3600e6 };
    const ca = await createCa("An upstream's CA", options);
    const leaf = await issueServer(ca, ["localhost"], options);
    service = await openService(transport === "TLS" ? leaf : null);
    sidecar = await openSidecar({
      granted: {
        [`localhost:${service.port}`]: [
          "/grpc.testing.TestService/*",
          "/grpc.testing.UnimplementedService/*",
        ],
        [`localhost:${service.gzipPort}`]: ["/grpc.testing.GzipService/Echo"],
      },
      upstreamCa: ca.certPem,
    });
    roots = { direct: join(folder, "upstream.pem"), through: join(folder, "sidecar.pem") };
    writeFileSync(roots.direct, ca.certPem);
    writeFileSync(roots.through, sidecar.ca.certPem);
  });
  afterAll(async () => {
    await sidecar.close();
    service.close();
    rmSync(folder, { recursive: true, force: true });
  });

  describe.each(CLIENTS.map((c) => [c.client, c] as const))("by %s", (_, { argv, lacks }) => {
    let direct: Observation[];
    let through: Observation[];
    let sawDirect: Saw[];
    let sawThrough: Saw[];
    let receiptsBefore = 0;

    /** Runs all cases in one process that has nothing but its environment to go by. */
    async function runAll(way: "direct" | "through", paths = CASES): Promise<Observation[]> {
      const address = `127.0.0.1:${sidecar.stack.proxyAddress.port}`;
      const job = {
        tls: transport === "TLS",
        target: `localhost:${service.port}`,
        gzipTarget: `localhost:${service.gzipPort}`,
        cases: paths.map(([one]) => one),
      };
      const environment = {
        GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: roots[way],
        ...(way === "through" ? { grpc_proxy: `http://agent:${CREDENTIAL}@${address}` } : {}),
      };
      const { exit, stdout, stderr } = await run(argv, environment, JSON.stringify(job));
      if (exit !== 0) throw new Error(`${argv.join(" ")}: exit ${exit}\n${stderr}`);
      return JSON.parse(stdout) as Observation[];
    }

    const reached = CASES.filter(([, { code }]) => code !== 12).length;

    beforeAll(async () => {
      if (lacks !== "") return;
      service.forget();
      direct = await runAll("direct");
      sawDirect = await service.seen(reached);
      service.forget();
      receiptsBefore = sidecar.receipts().length;
      through = await runAll("through");
      sawThrough = await service.seen(reached);
    }, 60_000);

    beforeEach(({ skip }) => skip(lacks !== "", lacks));

    test.each(CASES.map(([one, expected], i) => [one.name, expected, i] as const))(
      "%s",
      (_name, expected, i) => {
        expectTold(direct[i] as Observation, expected);
        expect(comparable(through[i] as Observation)).toEqual(comparable(direct[i] as Observation));
      },
    );

    test("the service sees the same calls, byte for byte", () => {
      expect(sawThrough).toEqual(sawDirect);
      // The clients did compress, or those cases would prove nothing.
      const { messages } = sawThrough.find((s) => s.path === GZIP_ECHO) as Saw;
      expect(messages[0]).toMatch(/flag 1$/);
    });

    test("each call left one receipt with its verdict, and the chain holds", async () => {
      await expect.poll(() => sidecar.gate.inFlight()).toBe(0);
      const forbidden = { ...(EMPTY as (typeof CASES)[number])[0], path: FORBIDDEN };
      const [denied] = await runAll("through", [[forbidden, { code: 7, sizes: [] }]]);
      expect(denied).toMatchObject({ code: 7, messages: [] });
      expect(denied?.details).toContain("SCOPE_NOT_GRANTED");
      await sidecar.ledger.flushed();
      const completed = CASES.filter(([, { code }]) => code === 0).length;
      expect(countVerdicts(sidecar.receipts().slice(receiptsBefore))).toEqual({
        COMPLETED: completed,
        FAILED: CASES.length - completed,
        DENIED: 1,
      });
      expect(await sidecar.ledger.check()).toBeNull();
    });
  });
});
