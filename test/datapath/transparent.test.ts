import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { framed, openRig, RawClient, type Rig, rawUpstream } from "./harness.ts";

/**
 * Connections that the kernel hands over: where each was meant for is its local address. Here that is
 * the listener's own, which the names say is `echo.localhost`, and echo.localhost resolves to the upstream.
 */
const HI = framed(Buffer.from("hi"));
const names = new Map<string, string>();
let rig: Rig;
let listener: Server;
let port: number;
let upstream: Awaited<ReturnType<typeof rawUpstream>>;

beforeEach(async () => {
  upstream = await rawUpstream((s) => {
    s.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    s.on("wantTrailers", () => s.sendTrailers({ "grpc-status": "0" }));
    s.on("data", (c) => s.write(c));
    s.on("end", () => s.end());
  });
  listener = createServer();
  // The same port as the upstream's: where a connection is dialled is where it goes.
  listener.listen(upstream.port, "127.0.0.3");
  await once(listener, "listening");
  port = (listener.address() as AddressInfo).port;
  // Node takes another server's socket as it takes a descriptor, but each descriptor once only.
  const at = listener as unknown as { fd: number };
  names.set("127.0.0.3", "echo.localhost");
  const transparent = {
    nameOf: (address: string) => names.get(address) ?? null,
    onLookup() {},
  };
  rig = await openRig({ transparent });
  await rig.stack.takeOver(at);
});
afterEach(async () => {
  await rig.close();
  listener.close();
  upstream.close();
});

async function dial(): Promise<ReturnType<typeof connect>> {
  const socket = connect(port, "127.0.0.3");
  await once(socket, "connect");
  return socket;
}

describe("a connection that was handed over", () => {
  test("needs no credential, and is judged by the name that was dialled", async () => {
    const client = new RawClient(await dial(), `echo.localhost:${port}`);
    const seen = await client.call("/test.Echo/Unary", HI);
    expect(seen.body).toEqual(HI);
    expect(rig.ledger.opened[0]?.claim.target).toBe(`echo.localhost:${port}`);
    client.close();
  });

  test.each(["elsewhere.test", "127.0.0.3", "localhost"])(
    "that asks for %s is AUTHORITY_MISMATCH",
    async (host) => {
      const client = new RawClient(await dial(), `${host}:${port}`);
      const seen = await client.call("/test.Echo/Unary", HI);
      expect(Buffer.from(seen.head.join()).toString()).toContain("AUTHORITY_MISMATCH");
      expect(rig.ledger.opened).toEqual([]);
      client.close();
    },
  );

  test("to a loopback address is for that address, and localhost is a name of it", async () => {
    names.clear();
    const client = new RawClient(await dial(), `localhost:${port}`);
    expect((await client.call("/test.Echo/Unary", HI)).body).toEqual(HI);
    client.close();
  });

  test("leads to one upstream: it takes no CONNECT to another", async () => {
    const socket = await dial();
    socket.write("CONNECT elsewhere.test:443 HTTP/1.1\r\nHost: elsewhere.test:443\r\n\r\n");
    const [answer] = (await once(socket, "data")) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1.1 \d+ PROTOCOL_UNSUPPORTED\r\n/);
    socket.destroy();
  });
});
