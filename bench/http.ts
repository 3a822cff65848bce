/**
 * What a sidecar costs HTTP/1.1: how much memory it takes while a gibibyte passes each way, how fast that
 * goes, and small requests a second.
 *
 *     node bench/http.ts [--mib 1024]
 *
 * Ends with 1 when more than 64 MiB beyond what it held before were taken: bodies stream, whatever their size.
 */
import { once } from "node:events";
import { Agent, createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { parseArgs } from "node:util";
import { node, Process } from "./process.ts";

const MIB = 1024 * 1024;
const EXTRA_MIB_MAX = 64;
const { values } = parseArgs({ options: { mib: { type: "string", default: "1024" } } });
const total = Number(values.mib) * MIB;
const piece = Buffer.alloc(64 * 1024, "x");

const upstream = createServer((asked, answer) => {
  let bytes = 0;
  asked.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
  });
  asked.on("end", () => {
    const size = Number(asked.headers["x-size"] ?? 0);
    if (size === 0) {
      answer.end(String(bytes));
      return;
    }
    let sent = 0;
    const more = (): void => {
      while (sent < size) {
        sent += piece.length;
        if (!answer.write(piece)) {
          answer.once("drain", more);
          return;
        }
      }
      answer.end();
    };
    more();
  });
});
upstream.listen(0, "127.0.0.1");
await once(upstream, "listening");
const { port: upstreamPort } = upstream.address() as AddressInfo;
const sidecar = new Process("measured", node("sidecar.ts", String(upstreamPort)));
const { port } = await sidecar.told<{ port: number }>();
const agent = new Agent({ keepAlive: true });

/** One request. @returns bytes that came back. */
async function ask(size: number, send: number, pauseMs = 0): Promise<number> {
  const headers = { "x-size": size };
  const asking = request({ port, agent, host: "127.0.0.1", path: "/x", method: "POST", headers });
  const answered = once(asking, "response");
  let sent = 0;
  const more = (): void => {
    while (sent < send) {
      sent += piece.length;
      if (!asking.write(piece)) {
        asking.once("drain", more);
        return;
      }
    }
    asking.end();
  };
  more();
  const [answer] = await answered;
  let bytes = 0;
  for await (const chunk of answer) {
    // A reader that takes its time: what it does not take must not pile up on the way.
    if (bytes === 0 && pauseMs > 0) await new Promise((done) => setTimeout(done, pauseMs));
    bytes += chunk.length;
  }
  return bytes;
}

const rssMib = (): number => sidecar.memoryMb().resident;

/** The most memory while something is done, beyond what was held before, and how long it took. */
async function watch(what: () => Promise<unknown>): Promise<{ extraMib: number; seconds: number }> {
  const before = rssMib();
  let most = before;
  const timer = setInterval(() => {
    most = Math.max(most, rssMib());
  }, 20);
  const begun = performance.now();
  await what();
  clearInterval(timer);
  most = Math.max(most, rssMib());
  return { extraMib: most - before, seconds: (performance.now() - begun) / 1000 };
}

const SMALL = 4000;
for (let i = 0; i < SMALL; i++) await ask(0, 0);
const small = await watch(async () => {
  for (let i = 0; i < SMALL; i++) await ask(0, 0);
});
console.log(`${Math.round(SMALL / small.seconds)} requests a second, one after the other`);

let worst = 0;
for (const [name, work] of [
  ["down", () => ask(total, 0)],
  ["up", () => ask(0, total)],
  ["down, read late", () => ask(total, 0, 2000)],
] as const) {
  const { extraMib, seconds } = await watch(work);
  worst = Math.max(worst, extraMib);
  const speed = Math.round(total / MIB / seconds);
  console.log(
    `${name}: ${values.mib} MiB, ${speed} MiB/s, ${extraMib.toFixed(1)} MiB more than before`,
  );
}
console.log(`sidecar: ${rssMib().toFixed(0)} MiB`);
await sidecar.stop();
upstream.close();
upstream.closeAllConnections();
agent.destroy();
process.exitCode = worst > EXTRA_MIB_MAX ? 1 : 0;
