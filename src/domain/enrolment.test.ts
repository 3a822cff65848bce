import { expect, test } from "vitest";
import { fromHex, toHex } from "./bytes.ts";
import { enrolMessage, formatSidecarName, parseSidecarName } from "./enrolment.ts";

const ledgerId = fromHex("5f".repeat(32));
const instanceId = "0189dcd553117d408db09496a2eef37b";
const name = { tenantId: "acme", instanceId, ledgerId };

test("a sidecar's name reads back as it was written, and has one spelling", () => {
  const uri = formatSidecarName(name);
  expect(uri).toBe(`dragons://acme/${instanceId}/${"5f".repeat(32)}`);
  expect(parseSidecarName(uri)).toEqual(name);
  for (const other of [
    `${uri}/`,
    `${uri}\n`,
    uri.toUpperCase(),
    uri.replace("acme", "ac/me"),
    uri.replace("acme", ""),
    uri.replace("dragons:", "https:"),
    uri.replace(instanceId, "0".repeat(32)),
    uri.slice(0, -1),
    "",
  ]) {
    expect(parseSidecarName(other), other).toBeNull();
  }
});

test("what is signed to enrol is of one length, and each part has its place", () => {
  const said = enrolMessage({ ledgerId, tlsKey: fromHex("aa".repeat(32)), askedAtUs: 258 });
  expect(toHex(said)).toBe(
    `${Buffer.from("dragons/v1/enrol\n").toString("hex")}${"5f".repeat(32)}${"aa".repeat(32)}0000000000000102`,
  );
});
