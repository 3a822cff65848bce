import { createSocket } from "node:dgram";
import { createServer, type RequestListener } from "node:http";
import { createSecureServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { createCa, issueServer } from "../../src/native/pki.ts";

/**
 * Servers of the world outside, in the network namespace that they were started in: HTTP on 8080, HTTP/1.1
 * and HTTP/2 by TLS on 8443, and on UDP 53 and 443 whoever listens for what got out. Any line is answered
 * with everybody who was heard since the last one: `tcp ADDRESS PORT`, `udp PORT`.
 */
const nowUs = Date.now() * 1000;
const ca = await createCa("The world", { nowUs, ttlUs: 3600e6 });
const names = ["world.example", "bank.example", "203.0.113.7", "2001:db8:5::7"];
const { certPem: cert, keyPem: key } = await issueServer(ca, names, { nowUs, ttlUs: 3600e6 });

let heard: string[] = [];
const answer: RequestListener = (request, response) => {
  response.end(`${request.method} ${request.url} of ${request.headers.host}`);
};
for (const [server, port] of [
  [createServer(answer), 8080],
  [createSecureServer({ cert, key, allowHTTP1: true }, answer as never), 8443],
] as const) {
  server.on("connection", (socket) => {
    const { address, port: at } = socket.address() as AddressInfo;
    heard.push(`tcp ${address.replace("::ffff:", "")} ${at}`);
    socket.on("error", () => socket.destroy());
  });
  await new Promise<void>((done) => void server.listen(port, "::", done));
}
for (const port of [53, 443]) {
  const socket = createSocket("udp6");
  socket.on("message", () => heard.push(`udp ${port}`));
  await new Promise<void>((done) => void socket.bind(port, "::", done));
}
process.stdout.write(`${JSON.stringify({ ca: ca.certPem })}\n`);
const lines = createInterface({ input: process.stdin });
lines.on("line", () => {
  process.stdout.write(`${JSON.stringify(heard)}\n`);
  heard = [];
});
lines.on("close", () => process.exit());
