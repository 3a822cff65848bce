import { once } from "node:events";
import { type AddressInfo, connect as connectTcp, createServer } from "node:net";
import { connect } from "node:tls";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { clientHello, type HelloParts, serverNameExtension } from "../../test/datapath/hello.ts";
import { readClientHello } from "./client-hello.ts";

const ECH = [0xfe0d, Buffer.alloc(8)] as const;

describe("a ClientHello", () => {
  test("of a TLS library says its server's name", async () => {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const client = connect({ socket: connectTcp(port, "127.0.0.1"), servername: "a.example" });
    client.on("error", () => {});
    const [socket] = await once(server, "connection");
    const [bytes] = (await once(socket, "data")) as [Buffer];
    expect(readClientHello(bytes)).toEqual({ serverName: "a.example", encrypted: false });
    client.destroy();
    socket.destroy();
    server.close();
  });

  test("is waited for to its last byte, and read in up to four records", () => {
    for (const record of [undefined, 20]) {
      const bytes = clientHello(record === undefined ? {} : { record });
      for (let end = 0; end < bytes.length; end++) {
        expect(readClientHello(bytes.subarray(0, end))).toBeNull();
      }
      const read = { serverName: "localhost", encrypted: false };
      expect(readClientHello(bytes)).toEqual(read);
      // What follows it is the connection's.
      expect(readClientHello(Buffer.concat([bytes, Buffer.from("more")]))).toEqual(read);
    }
  });

  test.each<[string, HelloParts, object]>([
    ["no server's name", { serverName: null }, { serverName: null, encrypted: false }],
    ["ECH", { extensions: [ECH] }, { serverName: "localhost", encrypted: true }],
    ["ESNI", { extensions: [[0xffce, Buffer.alloc(2)]] }, { encrypted: true }],
    ["anything else", { extensions: [[0x0a0a, Buffer.alloc(3)]] }, { encrypted: false }],
  ])("with %s is read", (_, parts, read) => {
    expect(readClientHello(clientHello(parts))).toMatchObject(read);
  });

  const named = (data: Buffer): HelloParts => ({ serverName: null, extensions: [[0, data]] });
  const one = serverNameExtension("a.example");
  test.each<[string, HelloParts, RegExp]>([
    ["two server names", { extensions: [[0, one]] }, /the extension 0 twice/],
    [
      "two names in one list",
      named(Buffer.concat([Buffer.from([0, 24]), one.subarray(2), one.subarray(2)])),
      /no way that is one/,
    ],
    ["a name of another kind", named(Buffer.from([0, 4, 1, 0, 1, 97])), /no way that is one/],
    ["an empty name", named(Buffer.from([0, 3, 0, 0, 0])), /no way that is one/],
    ["a name that is torn", named(Buffer.from([0, 4, 0, 0, 9, 97])), /no way that is one/],
    ["bytes behind its name", named(Buffer.concat([one, Buffer.from([0])])), /no way that is one/],
    ["bytes behind its extensions", { more: Buffer.from([0]) }, /torn/],
    ["TLS 1.1", { version: 0x0302 }, /no TLS from 1.2 on/],
    ["many records", { record: 8 }, /more than 4 records/],
    [
      "more than anybody says",
      { extensions: [[21, Buffer.alloc(40_000)]], record: 16_000 },
      /bytes in its ClientHello/,
    ],
  ])("with %s is refused", (_, parts, why) => {
    expect(readClientHello(clientHello(parts))).toMatch(why);
  });

  test("is no alert, no other message, and nothing in front of one", () => {
    expect(readClientHello(Buffer.from([21, 3, 3, 0, 2, 2, 40]))).toMatch(/no TLS handshake/);
    expect(readClientHello(Buffer.from([22, 3, 3, 0, 4, 2, 0, 0, 0]))).toMatch(/not begin with/);
    const bytes = clientHello();
    const twice = Buffer.concat([bytes.subarray(5), bytes.subarray(5)]);
    const record = Buffer.concat([Buffer.from([22, 3, 1, 0, twice.length]), twice]);
    expect(readClientHello(record)).toMatch(/another message behind/);
  });

  test("of whatever bytes is read, refused or waited for, and never throws", () => {
    const spoilt = fc.tuple(fc.nat(200), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(fc.array(spoilt, { minLength: 1, maxLength: 4 }), (changes) => {
        const bytes = clientHello({ extensions: [ECH] });
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        readClientHello(bytes);
      }),
    );
  });
});
