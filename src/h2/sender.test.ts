import { duplexPair } from "node:stream";
import fc from "fast-check";
import { expect, test } from "vitest";
import { FRAME, HEAD_BYTES, writeHead } from "./frames.ts";
import { Sender } from "./sender.ts";
import { type H2Stream, TURN, type Turn } from "./stream.ts";

/** A stream that only counts its turns. */
const waiting = (turn: Turn) => {
  const stream = {
    turns: 0,
    queued: false,
    waiting: false,
    turn() {
      stream.turns++;
      return turn;
    },
  };
  return stream;
};
const as = (stream: ReturnType<typeof waiting>): H2Stream => stream as unknown as H2Stream;

test("a stream that waits for the connection's window has its turn when it grows, unless it is over", () => {
  const [socket] = duplexPair();
  const sender = new Sender(socket, { flooded() {} });
  const [patient, gone] = [waiting(TURN.STARVED), waiting(TURN.STARVED)];
  sender.wants(as(patient));
  sender.wants(as(gone));
  sender.flush();
  sender.drop(as(gone));
  sender.widen(1);
  sender.flush();
  expect([patient.turns, gone.turns, gone.queued]).toEqual([2, 1, false]);
  socket.destroy();
});

test("a stream that is over before its turn has none", () => {
  const [socket] = duplexPair();
  const sender = new Sender(socket, { flooded() {} });
  const gone = waiting(TURN.DONE);
  sender.wants(as(gone));
  sender.drop(as(gone));
  sender.flush();
  expect(gone.turns).toBe(0);
  socket.destroy();
});

test("senders that write in turn send each its own frames, in their order", async () => {
  const step = fc.record({
    who: fc.nat(2),
    payload: fc.uint8Array({ maxLength: 3000 }),
    flushed: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const all = [0, 1, 2].map(() => {
        const [socket, theirs] = duplexPair();
        const got: Buffer[] = [];
        theirs.on("data", (chunk: Buffer) => got.push(chunk));
        const sender = new Sender(socket, { flooded() {} });
        return { socket, theirs, sender, got, want: [] as Buffer[] };
      });
      for (const { who, payload, flushed } of steps) {
        const { sender, want } = all[who] as (typeof all)[0];
        const head = Buffer.alloc(HEAD_BYTES);
        const isData = payload.length % 2 === 0;
        writeHead(head, 0, payload.length, isData ? FRAME.DATA : FRAME.PING, 0, 1);
        want.push(head, Buffer.from(payload));
        if (isData) sender.data(1, Buffer.from(payload), payload.length, false);
        else sender.control(FRAME.PING, 0, 1, payload);
        if (flushed) sender.flush();
      }
      for (const { sender, socket, theirs, got, want } of all) {
        sender.flush();
        socket.end();
        await new Promise((done) => theirs.once("end", done));
        expect(Buffer.concat(got).equals(Buffer.concat(want))).toBe(true);
        theirs.destroy();
      }
    }),
    { numRuns: 50 },
  );
});
