import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import tls from "node:tls";
import type { DescMethod } from "@bufbuild/protobuf";
import grpc from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { sidecarStatus } from "../../src/cli/actions/evidence.ts";
import { listOrganisms } from "../../src/cli/actions/organism.ts";
import { controlMessageBytesMax } from "../../src/domain/limits.ts";
import { EvidenceService } from "../../src/gen/dragons/v1/evidence_pb.ts";
import { createCa, issueServer } from "../../src/native/pki.ts";
import { ask } from "./calls.ts";
import { type RunningSidecar, World } from "./rig.ts";

/** Every socket, given what it does not expect: it answers or hangs up, and goes on for the others. */

let world: World;
let sidecar: RunningSidecar;

beforeAll(async () => {
  world = await World.open();
  sidecar = await world.sidecar(await world.flags("one"));
  await sidecar.log.until("lease");
});
afterAll(() => world.close());

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS = "000000040000000000";
const frames = (hex: string, times = 1): Buffer =>
  Buffer.concat([
    Buffer.from(PREFACE),
    Buffer.from(SETTINGS, "hex"),
    Buffer.from(hex.repeat(times), "hex"),
  ]);

const WORDS: [string, Buffer][] = [
  ["nothing but zeroes", Buffer.alloc(4096)],
  ["noise", randomBytes(4096)],
  ["a TLS record cut short", Buffer.from("16030100ff010000fb0303", "hex")],
  ["a TLS record that lies", Buffer.concat([Buffer.from("1603014000", "hex"), randomBytes(999)])],
  ["half an HTTP/2 preface", Buffer.from(PREFACE.slice(0, 12))],
  ["an HTTP/2 frame of 16 MB", frames("ffffff000000000001")],
  ["an unknown frame on stream 0", frames("000004fe0000000000deadbeef")],
  ["DATA before HEADERS", frames("000004000000000001deadbeef")],
  ["HEADERS that are no HPACK", frames("000004010500000001ffffffff")],
  ["a window of more than there is", frames("0000040800000000007fffffff", 2)],
  ["10,000 pings", frames("0000080600000000000000000000000000", 10_000)],
  ["10,000 settings", frames(SETTINGS, 10_000)],
  ["10,000 resets", frames("00000403000000000100000008", 10_000)],
  ["HTTP/1 without end", Buffer.from(`GET / HTTP/1.1\r\nX: ${"x".repeat(100_000)}`)],
  [
    "two requests in one",
    Buffer.from(
      "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
  ],
];

/** Of these, what a TLS client may hear. */
const NONSENSE = WORDS.filter(([name]) => /zeroes|HPACK/.test(name));

/** Says something, hangs up, and waits until the other side has done so too. */
async function say(socket: Socket, words: Buffer): Promise<void> {
  socket.on("error", () => {});
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.resume();
  socket.end(words);
  await closed;
}

const control = (): { host: string; port: number } => {
  const [host, port] = world.control.ready.control.split(":");
  return { host: host as string, port: Number(port) };
};

describe("the control plane's port", () => {
  test.each(WORDS)("plainly: %s", async (_name, words) => {
    await say(connect(control()), words);
    expect(await listOrganisms(world.operator)).toHaveLength(1);
  });

  test.each(WORDS)("inside TLS: %s", async (_name, words) => {
    const ca = readFileSync(world.control.ready.controlCa);
    const options = { ...control(), ca, servername: "localhost", ALPNProtocols: ["h2"] };
    const socket = tls.connect(options);
    await once(socket, "secureConnect");
    await say(socket, words);
    expect(await listOrganisms(world.operator)).toHaveLength(1);
  });

  test("a message larger than it takes is refused by its size", async () => {
    const client = channel();
    const status = await asked(
      client,
      "/dragons.v1.DockService/Dock",
      Buffer.alloc(controlMessageBytesMax + 1),
    );
    expect(status.code).toBe(grpc.status.RESOURCE_EXHAUSTED);
    client.close();
  });

  test("no message of noise, to any method, is anything but the caller's mistake", async () => {
    const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    const client = channel();
    try {
      for (const service of world.control.services) {
        for (const method of service.methods) {
          for (const noise of noises()) {
            const status = await asked(client, pathOf(method), noise);
            expect([pathOf(method), CALLERS_FAULT]).toEqual([
              pathOf(method),
              expect.arrayContaining([status.code]),
            ]);
          }
        }
      }
      expect(said.mock.calls.map(([line]) => String(line)).join("")).not.toMatch(/failed/);
    } finally {
      said.mockRestore();
      client.close();
    }
    expect(await listOrganisms(world.operator)).toHaveLength(1);
  });
});

describe("the sidecar's proxy", () => {
  test.each(WORDS)("%s", async (_name, words) => {
    const [host, port] = sidecar.ready.proxy.split(":");
    const before = world.echo.seen.deadlines.length;
    await say(connect({ host: host as string, port: Number(port) }), words);
    expect(world.echo.seen.deadlines).toHaveLength(before);
    expect(await ask(sidecar.agent, "hello")).toMatchObject({ code: 0 });
  });
});

describe("the sidecar's own socket", () => {
  test.each(WORDS)("%s", async (_name, words) => {
    await say(connect(sidecar.ready.admin), words);
    expect(await sidecarStatus(sidecar.admin)).toMatchObject({ standing: null });
  });

  test("noise, to any method", async () => {
    const client = new grpc.Client(
      `unix:${sidecar.ready.admin}`,
      grpc.credentials.createInsecure(),
    );
    for (const method of EvidenceService.methods) {
      for (const noise of noises()) {
        const { code } = await asked(client, pathOf(method), noise);
        expect([...CALLERS_FAULT, grpc.status.OK]).toContain(code);
      }
    }
    client.close();
    expect(sidecar.log.said.filter((s) => s.event === "fault")).toEqual([]);
    expect(await sidecarStatus(sidecar.admin)).toMatchObject({ standing: null });
  });
});

test.each(NONSENSE)(
  "a sidecar lives through a centre that says %s, and docks once it talks sense",
  async (_name, words) => {
    const now = { nowUs: Date.now() * 1000, ttlUs: 3_600_000_000 };
    const ca = await createCa("in between", now);
    const { certPem, keyPem } = await issueServer(ca, ["localhost"], now);
    let nonsense = 1;
    const talker = tls.createServer({ cert: certPem, key: keyPem, ALPNProtocols: ["h2"] });
    talker.on("secureConnection", (socket) => {
      socket.on("error", () => socket.destroy());
      socket.end(words);
    });
    // Whoever comes after is led to the control plane itself: nobody in between could speak for them.
    const between = createServer((socket) => {
      if (nonsense-- > 0) return void talker.emit("connection", socket);
      const onward = connect(control());
      for (const [one, other] of [
        [socket, onward],
        [onward, socket],
      ] as const) {
        one.on("error", () => other.destroy());
        one.once("close", () => other.destroy());
      }
      socket.pipe(onward).pipe(socket);
    });
    between.listen(0, "127.0.0.1");
    await once(between, "listening");
    const { port } = between.address() as AddressInfo;
    const trusted = readFileSync(world.control.ready.controlCa, "utf8");
    const door = { address: `127.0.0.1:${port}`, ca: `${ca.certPem}\n${trusted}` };
    const docked = await world.sidecar(await world.flags(`behind${port}`, door));
    await docked.log.until("lease");
    await docked.stop();
    between.close();
  },
);

/** What a server may say of a request that is none. */
const CALLERS_FAULT = [
  grpc.status.INVALID_ARGUMENT,
  grpc.status.UNAUTHENTICATED,
  grpc.status.PERMISSION_DENIED,
  grpc.status.NOT_FOUND,
];

const noises = (): Buffer[] => [
  randomBytes(64),
  Buffer.from("0a", "hex"),
  Buffer.from("ffffffffffffffffffff01", "hex"),
  Buffer.from("0affffffff07", "hex"),
  Buffer.from("080108020803", "hex"),
];

const raw = (b: Buffer): Buffer => b;
const pathOf = (method: DescMethod): string => `/${method.parent.typeName}/${method.name}`;

const channel = (): grpc.Client =>
  new grpc.Client(
    world.control.ready.control.replace(/^127\.0\.0\.1/, "localhost"),
    grpc.credentials.createSsl(readFileSync(world.control.ready.controlCa)),
  );

/** One message on a stream of any kind, and how that ended. */
function asked(client: grpc.Client, path: string, message: Buffer): Promise<grpc.StatusObject> {
  return new Promise((resolve) => {
    const stream = client.makeBidiStreamRequest(path, raw, raw, new grpc.Metadata(), {});
    stream.on("error", () => {});
    stream.on("data", () => {});
    stream.on("status", resolve);
    stream.write(message);
    stream.end();
  });
}
