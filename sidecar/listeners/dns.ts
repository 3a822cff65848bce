import { createSocket, type Socket as Datagrams } from "node:dgram";
import type { Socket } from "node:net";
import { dnsIdleUs, dnsMessageMax } from "../../src/domain/limits.ts";
import type { Reason } from "../../src/domain/reason.ts";
import type { Clock } from "../../src/native/clock.ts";
import { isLocalName } from "../upstream/address.ts";
import { answerTo, CODE, type Code, readQuestion, refusalOf, TYPE } from "./dns-message.ts";
import type { Names } from "./names.ts";

export const DNS_PORT = 53;

const LOCALHOST: Record<number, Buffer> = {
  [TYPE.A]: Buffer.from([127, 0, 0, 1]),
  [TYPE.AAAA]: Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
};

/** A bound socket that look-ups come in by, as `Passed` tells of one. */
export interface PassedDatagrams {
  readonly at: { readonly fd: number };
  readonly type: "udp4" | "udp6";
}

/** Told of look-ups that are evidence: what nobody asks, and what there is no room for. */
export type Refused = (reason: Reason, detail: string) => void;

/**
 * Answers every look-up here, whomever it was meant for, so that none leaves: a name has one address,
 * of ours, and no other records. So nothing can be told to anybody by asking for names, no name can
 * change what it leads to, and nobody finds a way that is not judged (HTTPS and SVCB records).
 */
export class NameServer {
  readonly #names: Names;
  readonly #clock: Clock;
  readonly #refused: Refused;
  #sockets: readonly Datagrams[] = [];

  constructor(names: Names, clock: Clock, refused: Refused) {
    this.#names = names;
    this.#clock = clock;
    this.#refused = refused;
  }

  /** Takes over bound sockets, in place of those that it had. */
  listen(passed: readonly PassedDatagrams[]): void {
    this.close();
    this.#sockets = passed.map((one) => this.#open(one));
  }

  #open({ at, type }: PassedDatagrams): Datagrams {
    const socket = createSocket(type);
    socket.on("message", (message, { address, port }) => {
      const answer = this.answer(message);
      // Who asked may be gone; it asks again.
      if (answer !== null) socket.send(answer, port, address, () => {});
    });
    // What an answer runs into, such as who asked being gone, is of no use to anybody.
    socket.on("error", () => {});
    socket.bind(at);
    return socket;
  }

  /** A connection on which look-ups come one after the other, each behind its length (RFC 7766). */
  accept(socket: Socket): void {
    const idle = this.#clock.after(dnsIdleUs, () => socket.destroy());
    socket.on("error", () => socket.destroy());
    socket.once("close", () => idle.cancel());
    let held = Buffer.alloc(0);
    socket.on("data", (more: Buffer) => {
      held = Buffer.concat([held, more]);
      while (held.length >= 2 && held.length >= 2 + held.readUInt16BE()) {
        const end = 2 + held.readUInt16BE();
        const answer = this.answer(held.subarray(2, end));
        held = held.subarray(end);
        if (answer === null) return socket.destroy();
        const length = Buffer.alloc(2);
        length.writeUInt16BE(answer.length);
        socket.write(Buffer.concat([length, answer]));
      }
      if (held.length > 2 + dnsMessageMax) socket.destroy();
    });
  }

  /** null: it deserves none. */
  answer(message: Buffer): Buffer | null {
    const question = readQuestion(message);
    if (question === null) {
      this.#refused(
        "PROTOCOL_UNSUPPORTED",
        "a look-up is not one question of the Internet's names",
      );
      return refusalOf(message);
    }
    const { name, type } = question;
    const none = (code: Code): Buffer => answerTo(question, code, null);
    if (name === null) return none(CODE.NO_NAME);
    if (isLocalName(name)) return answerTo(question, CODE.OK, LOCALHOST[type] ?? null);
    if (type !== TYPE.A) return none(CODE.OK);
    try {
      const address = this.#names.addressOf(name);
      if (address !== null) return answerTo(question, CODE.OK, address);
      this.#refused("OVERLOADED", "more names were looked up than one instance has addresses for");
    } catch (error) {
      this.#refused("OVERLOADED", `a name cannot be kept: ${(error as Error).message}`);
    }
    return none(CODE.FAILED);
  }

  close(): void {
    for (const socket of this.#sockets) socket.close();
  }
}
