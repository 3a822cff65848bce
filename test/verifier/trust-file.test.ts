import { describe, expect, test } from "vitest";
import { noble } from "../../src/domain/noble.ts";
import { exitCodeOf } from "../../src/verifier/report.ts";
import { isTrustFault, parseTrustFile } from "../../src/verifier/trust-file.ts";

const rootKey = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
const other = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
const least = { format: "dragons trust 0", tenant: "acme", rootKey };

const parse = (value: unknown) =>
  parseTrustFile(noble, typeof value === "string" ? value : JSON.stringify(value));

test("the least trust file: a tenant and its root", () => {
  expect(parse(least)).toMatchObject({
    tenant: "acme",
    keysetVersion: 1,
    cosigners: null,
    witnesses: [],
    quorum: 0,
    knownHead: null,
    asOfUs: null,
    maxAgeUs: null,
  });
});

test("everything that may stand in one", () => {
  const trust = parse({
    ...least,
    keysetVersion: 3,
    cosigners: [other],
    witnesses: [{ name: "auditor", key: other }],
    knownHead: { ledger: "ab".repeat(32), size: 42, root: "cd".repeat(32) },
    asOf: "2026-11-22T21:00:00Z",
    maxAgeSeconds: 86_400,
  });
  expect(trust).toMatchObject({
    keysetVersion: 3,
    quorum: 1,
    asOfUs: Date.UTC(2026, 10, 22, 21) * 1000,
    maxAgeUs: 86_400_000_000,
  });
});

describe("what is wrong is named, with its fix", () => {
  test.each([
    ["not JSON", "{", "file"],
    ["a list", [], "file"],
    ["an escape", '{"tenant":"\\u0061"}', "file"],
    ["too long", " ".repeat(70_000), "file"],
    ["another format", { ...least, format: "1" }, "format"],
    ["an unknown field", { ...least, witnes: [] }, "witnes"],
    ["a doubled field", `{"tenant":"a","tenant":"b"}`, "tenant"],
    ["no tenant", { ...least, tenant: "" }, "tenant"],
    ["a root in capitals", { ...least, rootKey: rootKey.toUpperCase() }, "rootKey"],
    ["a weak root", { ...least, rootKey: `01${"00".repeat(31)}` }, "rootKey"],
    ["version 0", { ...least, keysetVersion: 0 }, "keysetVersion"],
    ["cosigners that are no list", { ...least, cosigners: other }, "cosigners"],
    ["a cosigner that is no key", { ...least, cosigners: ["x"] }, "cosigners[0]"],
    [
      "a nameless witness",
      { ...least, witnesses: [{ name: "", key: other }] },
      "witnesses[0].name",
    ],
    ["a stray word", { ...least, witnesses: [{ name: "a", key: other, x: 1 }] }, "witnesses[0].x"],
    ["a quorum of nobody", { ...least, quorum: 1 }, "quorum"],
    ["no quorum", { ...least, witnesses: [{ name: "a", key: other }], quorum: 0 }, "quorum"],
    [
      "half a head",
      { ...least, knownHead: { ledger: "ab".repeat(32), size: 1 } },
      "knownHead.root",
    ],
    [
      "a negative size",
      { ...least, knownHead: { ledger: "ab".repeat(32), size: -1 } },
      "knownHead.size",
    ],
    ["a local time", { ...least, asOf: "2026-11-22 21:00" }, "asOf"],
    ["no day", { ...least, asOf: "2026-13-41T00:00:00Z" }, "asOf"],
    ["an age of 0", { ...least, maxAgeSeconds: 0 }, "maxAgeSeconds"],
  ])("%s", (_, value, field) => {
    const fault = parse(value);
    if (!isTrustFault(fault)) throw new Error("it was taken");
    expect(fault.field).toBe(field);
    expect(fault.fix).not.toBe("");
  });
});

test("exit codes", () => {
  expect(exitCodeOf({ pinned: true, verdict: "WITNESSED" })).toBe(0);
  expect(exitCodeOf({ pinned: true, verdict: "ANCHORED" })).toBe(0);
  expect(exitCodeOf({ pinned: true, verdict: "INTACT" })).toBe(3);
  expect(exitCodeOf({ pinned: true, verdict: "BROKEN" })).toBe(2);
  expect(exitCodeOf({ pinned: false, verdict: "ANCHORED" })).toBe(78);
  expect(exitCodeOf({ pinned: false, verdict: "BROKEN" })).toBe(78);
});
