import { duplexPair } from "node:stream";
import { expect, test } from "vitest";
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
