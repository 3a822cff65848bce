import { describe, expect, test } from "vitest";
import type { Ingress } from "./exchange.ts";
import { readHttpRequest } from "./http-request.ts";

const ingress = (over: Partial<Ingress>): Ingress => ({
  target: "api.example:443",
  scheme: "https",
  reverse: false,
  dialled: "",
  serverName: "",
  fault: null,
  ...over,
});

const read = (method: string, fields: string[], over: Partial<Ingress> = {}) =>
  readHttpRequest(
    { method, scheme: null, authority: null, pathAndQuery: "/", fields, minor: 1 },
    ingress(over),
  );

/** What the upstream is told as Host; or why nothing is. */
function hostOf(host: string, over: Partial<Ingress> = {}): string {
  const request = read("GET", ["hOsT", host], over);
  return "unreadable" in request ? request.reason : request.fields.join(": ");
}

test.each([
  ["GET", "text/event-stream", true],
  ["GET", "text/event-stream, application/json", false],
  ["GET", "*/*", false],
  ["POST", "text/event-stream", false],
])("%s of %s listens: %s", (method, accept, listens) => {
  const request = read(method, ["host", "api.example", "accept", accept, "content-length", "0"]);
  expect(request).toMatchObject({ listens });
});

describe("the upstream's Host", () => {
  test.each([
    ["api.example", "hOsT: api.example"],
    ["API.Example.", "hOsT: api.example"],
    ["api.example:443", "hOsT: api.example:443"],
    ["api.example:80", "AUTHORITY_MISMATCH"],
    ["api.example:0443", "REQUEST_NOT_NORMAL"],
    ["api.example:", "REQUEST_NOT_NORMAL"],
    ["user@api.example", "REQUEST_NOT_NORMAL"],
    ["", "REQUEST_NOT_NORMAL"],
  ])("is what the agent said, in one spelling: %s", (said, told) => {
    expect(hostOf(said)).toBe(told);
  });

  test("is the route's own, with a port only where it does not go without saying", () => {
    expect(hostOf("localhost:9000", { reverse: true })).toBe("hOsT: api.example");
    const other = { reverse: true, target: "api.example:8443" };
    expect(hostOf("localhost:9000", other)).toBe("hOsT: api.example:8443");
    const plain = { reverse: true, scheme: "http" as const, target: "api.example:80" };
    expect(hostOf("localhost:9000", plain)).toBe("hOsT: api.example");
  });

  test("must be the server name of its TLS, too", () => {
    expect(hostOf("api.example", { serverName: "API.example" })).toBe("hOsT: api.example");
    expect(hostOf("api.example", { serverName: "front.example" })).toBe("AUTHORITY_MISMATCH");
  });
});
