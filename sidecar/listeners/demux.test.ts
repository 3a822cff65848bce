import { expect, test } from "vitest";
import { sniff } from "./demux.ts";

test.each([
  ["\x16\x03\x01", "tls"],
  ["\x16", "undecided"],
  ["\x16\x02", "unknown"],
  ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http2"],
  ["PRI * HTTP/2.0\r\n\r\nS", "undecided"],
  ["P", "undecided"],
  ["POST / HTTP/1.1", "http1"],
  ["CONNECT a:1 HTTP/1.1", "http1"],
  ["PROPFIND /", "http1"],
  ["SSH-2.0-x", "unknown"],
  ["get / HTTP/1.1", "unknown"],
  ["\0\0\0", "unknown"],
  ["ABCDEFGHIJKLMNOPQRSTUVWX", "unknown"],
])("%j is %s", (head, protocol) => expect(sniff(Buffer.from(head, "latin1"))).toBe(protocol));
