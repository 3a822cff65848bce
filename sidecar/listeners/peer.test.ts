import { expect, test } from "vitest";
import { ownerIn, shared } from "./peer.ts";

const HEAD =
  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const row = (local: string, remote: string, uid: number) =>
  `   0: ${local} ${remote} 01 00000000:00000000 00:00000000 00000000  ${uid}        0 12345 1`;

test("a connection's owner is who holds its other end", () => {
  const table = [
    HEAD,
    row("0100007F:1BA0", "0100007F:C001", 0),
    row("0100007F:C001", "0100007F:1BA0", 1000),
    "",
  ].join("\n");
  expect(ownerIn(table, 0xc001, 0x1ba0)).toBe(1000);
  expect(ownerIn(table, 0x1ba0, 0xc001)).toBe(0);
});

test("an owner that is not there, or could be either of two, is not known", () => {
  const twice = [
    HEAD,
    row("0100007F:C001", "0100007F:1BA0", 1000),
    row("0200007F:C001", "0100007F:1BA0", 1001),
  ].join("\n");
  expect(ownerIn(twice, 0xc001, 0x1ba0)).toBeNull();
  expect(ownerIn(HEAD, 0xc001, 0x1ba0)).toBeNull();
  expect(ownerIn("", 0xc001, 0x1ba0)).toBeNull();
});

test("a socket that nobody holds any more has no owner, whatever uid its row says", () => {
  const orphan = row("0100007F:C001", "0100007F:1BA0", 0).replace(" 12345 1", " 0 1");
  expect(ownerIn(`${HEAD}\n${orphan}`, 0xc001, 0x1ba0)).toBeNull();
});

test("one reading of the tables serves all who asked before it began, and no one later", async () => {
  const readings: ((text: string) => void)[] = [];
  const ask = shared(() => new Promise<string>((resolve) => readings.push(resolve)));
  const before = [ask(), ask()];
  await Promise.resolve();
  expect(readings).toHaveLength(1);
  const meanwhile = [ask(), ask(), ask()];
  readings[0]?.("first");
  expect(await Promise.all(before)).toEqual(["first", "first"]);
  await Promise.resolve();
  expect(readings).toHaveLength(2);
  readings[1]?.("second");
  expect(await Promise.all(meanwhile)).toEqual(["second", "second", "second"]);
});
