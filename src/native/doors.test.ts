import { once } from "node:events";
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
