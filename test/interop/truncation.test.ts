import http2 from "node:http2";
import { expect, test } from "vitest";
import { DATA, frameLog, RST_STREAM } from "./frames.ts";
import { openSidecar } from "./rig.ts";

const CANCEL = http2.constants.NGHTTP2_CANCEL;

/** A stream cut short must never look complete to its upstream, which would act on what it has. */
test.each([
  ["the agent resets it", "agent"],
  ["leave is taken back", "cut"],
] as const)("a client stream is reset, not ended, when %s", async (_, how) => {
  const upstream = await frameLog();
  const target = `127.0.0.1:${upstream.port}`;
  const sidecar = await openSidecar({
    granted: { [target]: ["/test.Upload/Send"] },
    routes: [{ scheme: "http", target, listen: { host: "127.0.0.1", port: 0 } }],
  });
  const [route] = sidecar.stack.routeAddresses;
  const agent = http2.connect(`http://127.0.0.1:${route?.port}`);
  agent.on("error", () => {});
  try {
    const stream = agent.request({
      ":method": "POST",
      ":path": "/test.Upload/Send",
      "content-type": "application/grpc",
      te: "trailers",
    });
    stream.on("error", () => {});
    stream.write(Buffer.from([0, 0, 0, 0, 2, 1, 2]));
    await upstream.until(DATA);
    if (how === "agent") stream.destroy(new Error("changed its mind"));
    else sidecar.gate.cutAll("LEASE_REVOKED", "taken back");
    const frames = await upstream.until(RST_STREAM);
    expect(frames.filter((f) => f.endStream)).toEqual([]);
    expect(frames.at(-1)).toMatchObject({ type: RST_STREAM, code: CANCEL });
  } finally {
    agent.destroy();
    await sidecar.close();
    upstream.close();
  }
});
