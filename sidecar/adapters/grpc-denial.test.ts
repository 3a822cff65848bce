import { BinaryReader } from "@bufbuild/protobuf/wire";
import { describe, expect, test } from "vitest";
import type { Denial } from "./exchange.ts";
import { denialTrailers, percentEncode } from "./grpc-denial.ts";

const denial: Denial = {
  denied: true,
  reason: "LEASE_EXPIRED",
  message: "the lease has ended — 100%",
  receiptId: "rcp_1",
  leaseId: "lse_1",
  scope: "use:echo",
  remedy: "",
};

/** Field number → values, by a reader that is not ours. */
function fields(bytes: Uint8Array): Record<number, (Uint8Array | number)[]> {
  const reader = new BinaryReader(bytes);
  const out: Record<number, (Uint8Array | number)[]> = {};
  while (reader.pos < reader.len) {
    const [number, wire] = reader.tag();
    out[number] = [...(out[number] ?? []), wire === 0 ? reader.uint32() : reader.bytes()];
  }
  return out;
}
const text = (value: Uint8Array | number | undefined): string =>
  Buffer.from(value as Uint8Array).toString();
const said = (trailers: string[], name: string): string | undefined =>
  trailers[trailers.indexOf(name) + 1];

test("a denial's details are a google.rpc.Status with an ErrorInfo", () => {
  const encoded = said(denialTrailers(denial), "grpc-status-details-bin") as string;
  expect(encoded).not.toContain("=");
  const status = fields(Buffer.from(encoded, "base64"));
  expect(status[1]).toEqual([7]);
  expect(text(status[2]?.[0])).toBe("LEASE_EXPIRED: the lease has ended — 100%");
  const any = fields(status[3]?.[0] as Uint8Array);
  expect(text(any[1]?.[0])).toBe("type.googleapis.com/google.rpc.ErrorInfo");
  const info = fields(any[2]?.[0] as Uint8Array);
  expect([text(info[1]?.[0]), text(info[2]?.[0])]).toEqual(["LEASE_EXPIRED", "dragons.dev"]);
  const metadata = (info[3] ?? []).map((entry) => {
    const pair = fields(entry as Uint8Array);
    return [text(pair[1]?.[0]), text(pair[2]?.[0])];
  });
  expect(metadata).toEqual([
    ["lease_id", "lse_1"],
    ["receipt_id", "rcp_1"],
    ["scope", "use:echo"],
  ]);
});

describe("beside the details", () => {
  test("the message is percent-encoded and the receipt named", () => {
    const trailers = denialTrailers(denial);
    expect(said(trailers, "grpc-message")).toBe(
      "LEASE_EXPIRED: the lease has ended %E2%80%94 100%25",
    );
    expect(said(trailers, "dragons-receipt")).toBe("rcp_1");
    expect(trailers).not.toContain("grpc-retry-pushback-ms");
  });

  test("what is unavailable is not to be tried again by itself", () => {
    const trailers = denialTrailers({ ...denial, reason: "LEDGER_UNAVAILABLE", receiptId: "" });
    expect(said(trailers, "grpc-retry-pushback-ms")).toBe("-1");
    expect(trailers).not.toContain("dragons-receipt");
  });

  test.each([
    ["plain ~!", "plain ~!"],
    ["100%", "100%25"],
    ["a\r\nb", "a%0D%0Ab"],
    ["é", "%C3%A9"],
  ])("%j is encoded as %s", (raw, encoded) => expect(percentEncode(raw)).toBe(encoded));
});
