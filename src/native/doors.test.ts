import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { expect, test } from "vitest";
import { Doors } from "./doors.ts";

const dial = async (port: number): Promise<Socket> => {
  const socket = connect({ host: "127.0.0.1", port });
  // The other side ends it without reading what was said.
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
};

test("connections come by one port, whichever door they come through, and none of it is read", async () => {
  const came: Socket[] = [];
  const all = Promise.withResolvers<void>();
  const doors = new Doors(4, (socket) => {
    came.push(socket);
    if (came.length === 20) all.resolve();
  });
  const port = await doors.listen({ host: "127.0.0.1", port: 0 });
  const dialled = await Promise.all(Array.from({ length: 20 }, () => dial(port)));
  for (const socket of dialled) socket.write("hello");
  await all.promise;
  expect(new Set(came.map((s) => s.remotePort)).size).toBe(20);
  expect(came.map((s) => s.bytesRead)).toEqual(came.map(() => 0));
  for (const socket of came) socket.destroy();
  await doors.close();
});

test("closed, it takes nobody, by no door, and waits for those who are there", async () => {
  const first = Promise.withResolvers<Socket>();
  const doors = new Doors(3, (socket) => first.resolve(socket));
  const port = await doors.listen({ host: "127.0.0.1", port: 0 });
  const dialled = await dial(port);
  const there = await first.promise;
  let closed = false;
  const closing = doors.close().then(() => {
    closed = true;
  });
  await expect(dial(port)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  expect(closed).toBe(false);
  there.destroy();
  await closing;
  dialled.destroy();
});

test("thousands who all come at once are kept by the kernel, and none has to try again", async () => {
  const doors = new Doors(3, (socket) => socket.destroy());
  const port = await doors.listen({ host: "127.0.0.1", port: 0 });
  const allowed = Number(readFileSync("/proc/sys/net/core/somaxconn", "utf8"));
  const count = Math.min(1000, allowed);
  const dialled = Array.from({ length: count }, () => connect({ host: "127.0.0.1", port }));
  for (const socket of dialled) socket.on("error", () => {});
  // They dial in this turn, before any is taken.
  await new Promise<void>((dialled) => process.nextTick(dialled));
  const queued = (): number => {
    const at = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
    const rows = readFileSync("/proc/net/tcp", "utf8").split("\n");
    const listening = rows
      .map((row) => row.trim().split(/\s+/))
      .find((r) => r[1] === at && r[3] === "0A");
    return Number.parseInt(listening?.[4]?.split(":")[1] ?? "", 16);
  };
  expect(queued()).toBe(count);
  for (const socket of dialled) socket.destroy();
  await doors.close();
});

test("a port that is taken is refused, and says so", async () => {
  const doors = new Doors(2, () => {});
  const port = await doors.listen({ host: "127.0.0.1", port: 0 });
  const second = new Doors(2, () => {});
  await expect(second.listen({ host: "127.0.0.1", port })).rejects.toMatchObject({
    code: "EADDRINUSE",
  });
  await second.close();
  await doors.close();
});
