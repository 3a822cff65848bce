import { describe, expect, test } from "vitest";
import { answerHead, extendedHead, requestHead, trailers } from "./fields.ts";

const REQUEST = [":method", "POST", ":scheme", "http", ":path", "/a/B", ":authority", "a:1"];
const EXTENDED = [":method", "CONNECT", ":protocol", "websocket"];

describe("a request's head", () => {
  test.each([
    [REQUEST],
    [[...REQUEST, "te", "trailers", "x-b-bin", "AQ", "x-b-bin", "", "content-length", "5"]],
    [[":method", "OPTIONS", ":scheme", "http", ":path", "*"]],
    [[":method", "CONNECT", ":authority", "a:1"]],
    [[...EXTENDED, ":scheme", "https", ":path", "/", ":authority", "a:1"]],
    [[...REQUEST, "x-latin", "na\u00efve \t x"]],
  ])("%j may be", (fields) => expect(extendedHead(fields)).toBeTypeOf("object"));

  test.each([
    [REQUEST.slice(2), ":method"],
    [[":method", "", ...REQUEST.slice(2)], ":method"],
    [[...REQUEST.slice(0, 2), ...REQUEST.slice(4)], ":scheme"],
    [REQUEST.slice(0, 4), ":path"],
    [[...REQUEST.slice(0, 4), ":path", ""], ":path"],
    [[...REQUEST.slice(0, 4), ":path", "a/b"], ":path"],
    [[...REQUEST, ":path", "/c"], ":path comes twice"],
    [[...REQUEST, ":protocol", "websocket"], ":protocol"],
    [[...REQUEST, ":status", "200"], ":status"],
    [["a", "b", ...REQUEST], ":method"],
    [[...REQUEST, "Upper", "x"], "Upper"],
    [[...REQUEST, "a b", "x"], "a b"],
    [[...REQUEST, "", "x"], "no field name"],
    [[...REQUEST, "a", "x\ny"], "what none may"],
    [[...REQUEST, "a", "x\0"], "what none may"],
    [[...REQUEST, "a", " x"], "what none may"],
    [[...REQUEST, "a", "x\t"], "what none may"],
    [[...REQUEST, "connection", "close"], "connection"],
    [[...REQUEST, "transfer-encoding", "chunked"], "transfer-encoding"],
    [[...REQUEST, "te", "gzip"], "te"],
    [[...REQUEST, "content-length", "-1"], "content-length"],
    [[...REQUEST, "content-length", "1", "content-length", "2"], "content-length"],
    [[":method", "CONNECT", ":authority", "a:1", ":path", "/"], "CONNECT"],
    [[...EXTENDED, ":scheme", "https", ":path", "/"], ":authority is missing"],
    [[...EXTENDED, ":path", "/", ":authority", "a:1"], ":scheme is missing"],
    [[...EXTENDED, ":scheme", "https", ":authority", "a:1"], ":path is missing"],
    [[...REQUEST, ":protocol", "websocket"], "beside CONNECT alone"],
    [
      [...EXTENDED, ":scheme", "https", ":path", "/", ":authority", "a:1", "content-length", "0"],
      "no length",
    ],
    // A value that reads as a name hides nothing.
    [[":scheme", ":method", ":method", "CONNECT", ":path", "/", ":authority", "a:1"], "CONNECT"],
  ])("%j may not be", (fields, said) => expect(extendedHead(fields)).toContain(said));

  test("has no :protocol where none was offered", () => {
    const opening = [...EXTENDED, ":scheme", "https", ":path", "/", ":authority", "a:1"];
    expect(requestHead(opening)).toBe('":protocol" is out of place');
    expect(requestHead(REQUEST)).toEqual(extendedHead(REQUEST));
  });
});

describe("an answer's head", () => {
  test("declares its status and length", () => {
    expect(answerHead([":status", "200", "content-length", "7"])).toEqual({
      status: 200,
      contentLength: 7,
    });
    expect(answerHead([":status", "103"])).toEqual({ status: 103, contentLength: -1 });
  });

  test.each([
    [[]],
    [[":status", "20"]],
    [[":status", "600"]],
    [[":status", "101"]],
    [[":path", "/"]],
  ])("%j may not be", (fields) => expect(answerHead(fields)).toBeTypeOf("string"));
});

test("trailers hold no pseudo-header fields", () => {
  expect(trailers(["grpc-status", "0"])).toBeTypeOf("object");
  expect(trailers([":status", "200"])).toContain(":status");
});
