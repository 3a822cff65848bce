import { spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect, test } from "vitest";
import { peerUid } from "../../sidecar/listeners/peer.ts";
import { lacks } from "../skips.ts";

/** Whose connection this is, as the listener of a reverse route asks. */
const askedOf = async (accepted: Promise<unknown[]>): Promise<number | null> => {
  const [socket] = (await accepted) as [Socket];
  return peerUid(socket);
};

const NOBODY = 65_534;

/**
 * The stranger's socket is an IPv6 one at `::ffff:127.0.0.2`, with the port that the agent has at
 * 127.0.0.1: its row is in tcp6, the agent's in tcp. Whoever looks into the first alone takes the one
 * for the other. Only root can be two users.
 */
test.skipIf(lacks("root"))(
  "a stranger who takes the agent's port on another loopback address is not taken for it",
  async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const first = askedOf(once(server, "connection"));
    const agent = connect(port, "127.0.0.1");
    await once(agent, "connect");
    expect(await first).toBe(0);

    const second = askedOf(once(server, "connection"));
    const to = { host: "::ffff:127.0.0.1", port };
    const from = { localAddress: "::ffff:127.0.0.2", localPort: agent.localPort };
    const code = `require("net").connect(${JSON.stringify({ ...to, ...from })}).resume()`;
    const stranger = spawn(process.execPath, ["-e", code], { uid: NOBODY, gid: NOBODY, cwd: "/" });
    expect(await second).toBeNull();
    stranger.kill();
    agent.destroy();
    server.close();
  },
);
