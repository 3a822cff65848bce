import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/native/clock.ts";
import { NameServer } from "./dns.ts";
import { Names } from "./names.ts";

let folder: string;
let names: Names;
let refused: string[];
let server: NameServer;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "names-"));
  names = new Names(join(folder, "names"));
  refused = [];
  server = new NameServer(names, systemClock, (reason) => refused.push(reason));
});
afterEach(() => {
  names.close();
  rmSync(folder, { recursive: true });
});

/** A question as clients write it; `more` goes behind it. */
function question(name: string, type: number, more: number[] = []): Buffer {
  const labels = name.split(".").flatMap((l) => [l.length, ...Buffer.from(l, "latin1")]);
  const head = [0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, more.length === 0 ? 0 : 1];
  return Buffer.from([...head, ...labels, 0, 0, type, 0, 1, ...more]);
}
const A = 1;
const OPTIONS = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];

/** Its code, and the address if there is one. */
function told(answer: Buffer | null): [number, string | null] {
  if (answer === null) throw new Error("no answer");
  expect(answer.readUInt16BE(0)).toBe(0xabcd);
  const count = answer.readUInt16BE(6);
  return [(answer[3] as number) & 15, count === 0 ? null : answer.subarray(-4).join(".")];
}

describe("names", () => {
  test("have an address each, the same for good, also after a crash in the middle of a line", () => {
    expect(names.addressOf("a.example")?.join(".")).toBe("198.18.0.1");
    expect(names.addressOf("b.example")?.join(".")).toBe("198.18.0.2");
    expect(names.addressOf("a.example")?.join(".")).toBe("198.18.0.1");
    names.close();
    appendFileSync(join(folder, "names"), "c.exam");
    names = new Names(join(folder, "names"));
    expect(names.nameOf("198.18.0.2")).toBe("b.example");
    expect(names.nameOf("198.18.0.3")).toBeNull();
    expect(names.addressOf("d.example")?.join(".")).toBe("198.18.0.3");
    expect([names.nameOf("198.18.0.3"), names.nameOf("198.18.0.0"), names.nameOf("::1")]).toEqual([
      "d.example",
      null,
      null,
    ]);
  });

  test("are read back only as they were written", () => {
    writeFileSync(join(folder, "foreign"), "a.example\nA.Example\n");
    expect(() => new Names(join(folder, "foreign"))).toThrow(/line 2 is not the name of a host/);
  });

  test("that are too many are refused, and it is told", () => {
    const many = Array.from({ length: 65_536 }, (_, i) => `n${i}.example\n`).join("");
    names.close();
    writeFileSync(join(folder, "names"), many);
    names = new Names(join(folder, "names"));
    server = new NameServer(names, systemClock, (reason) => refused.push(reason));
    expect(told(server.answer(question("n65535.example", A)))).toEqual([0, "198.19.0.0"]);
    expect(told(server.answer(question("more.example", A)))).toEqual([2, null]);
    expect(refused).toEqual(["OVERLOADED"]);
  });
});

describe("a look-up", () => {
  test.each([
    ["of a name", question("Pay.Example", A), [0, "198.18.0.1"]],
    ["with options", question("pay.example", A, OPTIONS), [0, "198.18.0.1"]],
    ["of localhost", question("localhost", A), [0, "127.0.0.1"]],
    ["of IPv6", question("pay.example", 28), [0, null]],
    ["of TXT, which takes no address", question("secret.evil.example", 16), [0, null]],
    ["of HTTPS", question("pay.example", 65), [0, null]],
    ["of no host's name", question("a b.example", A), [3, null]],
    ["of an address", question("10.0.0.1", A), [3, null]],
  ] as const)("%s", (_, message, answer) => {
    expect(told(server.answer(message))).toEqual(answer);
    expect(refused).toEqual([]);
  });

  test("takes an address only for the name itself", () => {
    server.answer(question("secret.evil.example", 16));
    expect(told(server.answer(question("first.example", A)))).toEqual([0, "198.18.0.1"]);
  });

  test.each([
    ["of another class", Buffer.concat([question("a.example", A).subarray(0, -1), Buffer.of(3)])],
    ["cut off", question("a.example", A).subarray(0, -3)],
    [
      "with a pointer",
      Buffer.from([0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1]),
    ],
    ["with more behind it", question("a.example", A, [1, 2, 3])],
    ["with bytes behind it", Buffer.concat([question("a.example", A), Buffer.of(0)])],
    ["of two names", Buffer.from(question("a.example", A)).fill(2, 5, 6)],
  ])("%s is refused, and it is told", (_, message) => {
    expect(told(server.answer(message))).toEqual([1, null]);
    expect(refused).toEqual(["PROTOCOL_UNSUPPORTED"]);
  });

  test("that is an answer, or nothing, gets no answer", () => {
    const answer = question("a.example", A);
    answer[2] = 0x81;
    expect(server.answer(answer)).toBeNull();
    expect(server.answer(Buffer.alloc(3))).toBeNull();
  });
});
