/**
 * Requests that two servers may read in two ways. `HOST` stands for the upstream's own `host:port`, and
 * `\r\nAUTH` for the line with the proxy's credential. In a request that is wrong, whatever follows it
 * on the connection is `SECOND`: a whole request that would be allowed by itself, so that whoever
 * smuggles it is seen.
 */
export interface Case {
  readonly name: string;
  readonly bytes: string;
  /** What the upstream may see, to the byte; null: nothing, or the beginning of it and never its end. */
  readonly seen: string | null;
}

const SECOND = "GET http://HOST/ok/smuggled HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n";

/** Refused by its head, whatever follows. */
const refused = (name: string, bytes: string): Case => ({ name, bytes, seen: null });

/** A GET with more lines in its head. */
const head = (name: string, lines: string): Case =>
  refused(name, `GET http://HOST/ok HTTP/1.1\r\nHost: HOST\r\nAUTH${lines}\r\n${SECOND}`);
/** A POST with lines that frame its body, and what follows. */
const body = (name: string, lines: string, sent: string): Case =>
  refused(name, `POST http://HOST/ok HTTP/1.1\r\nHost: HOST\r\nAUTH${lines}\r\n${sent}${SECOND}`);
const line = (name: string, first: string): Case =>
  refused(name, `${first}\r\nHost: HOST\r\nAUTH\r\n${SECOND}`);

/** Readable, and not allowed: the connection would go on, so nothing follows. */
const elsewhere = (name: string, path: string): Case =>
  refused(name, `GET http://HOST${path} HTTP/1.1\r\nHost: HOST\r\nAUTHConnection: close\r\n\r\n`);

const CHUNKED = "Transfer-Encoding: chunked\r\n";
const passes = (name: string, bytes: string, seen: string): Case => ({ name, bytes, seen });

export const CORPUS: readonly Case[] = [
  // Two lengths, or none that is one
  body("content-length and transfer-encoding", `Content-Length: 4\r\n${CHUNKED}`, "0\r\n\r\n"),
  body("transfer-encoding and content-length", `${CHUNKED}Content-Length: 4\r\n`, "0\r\n\r\n"),
  body("content-length 0 and chunked", `Content-Length: 0\r\n${CHUNKED}`, "0\r\n\r\n"),
  body("two lengths that differ", "Content-Length: 4\r\nContent-Length: 0\r\n", "abcd"),
  body("two lengths that are equal", "Content-Length: 4\r\nContent-Length: 4\r\n", "abcd"),
  body("two lengths in one line", "Content-Length: 4, 4\r\n", "abcd"),
  body("two lengths in one line that differ", "Content-Length: 4, 0\r\n", "abcd"),
  body("a length with a sign", "Content-Length: +4\r\n", "abcd"),
  body("a negative length", "Content-Length: -4\r\n", "abcd"),
  body("a length in hexadecimal", "Content-Length: 0x4\r\n", "abcd"),
  body("a length with a leading zero", "Content-Length: 04\r\n", "abcd"),
  body("a length in octal", "Content-Length: 0o4\r\n", "abcd"),
  body("a length with a fraction", "Content-Length: 4.0\r\n", "abcd"),
  body("a length with an exponent", "Content-Length: 4e0\r\n", "abcd"),
  body("a length with a space inside", "Content-Length: 1 0\r\n", "abcd"),
  body("a length with an underscore", "Content-Length: 1_0\r\n", "abcd"),
  body("a length of nothing", "Content-Length: \r\n", "abcd"),
  body("a length beyond 2^53", "Content-Length: 9007199254740993\r\n", "abcd"),
  body("a length beyond 2^64", "Content-Length: 18446744073709551620\r\n", "abcd"),
  body("a length in letters of another script", "Content-Length: \u00b2\r\n", "abcd"),
  body("content_length", "Content_Length: 4\r\n", "abcd"),
  body(
    "transfer_encoding beside a length",
    "Content-Length: 4\r\nTransfer_Encoding: chunked\r\n",
    "abcd",
  ),
  // Encodings that are not chunked alone
  body("xchunked", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
  body("chunked, identity", "Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
  body("identity, chunked", "Transfer-Encoding: identity, chunked\r\n", "0\r\n\r\n"),
  body("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
  body("identity", "Transfer-Encoding: identity\r\nContent-Length: 4\r\n", "abcd"),
  body("chunked twice", `${CHUNKED}${CHUNKED}`, "0\r\n\r\n"),
  body("chunked and another line", `${CHUNKED}Transfer-Encoding: x\r\n`, "0\r\n\r\n"),
  body("an encoding of nothing", "Transfer-Encoding:\r\nContent-Length: 4\r\n", "abcd"),
  body("chunked in quotes", 'Transfer-Encoding: "chunked"\r\n', "0\r\n\r\n"),
  body("chunked with a parameter", "Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"),
  body("chunked behind a vertical tab", "Transfer-Encoding: \vchunked\r\n", "0\r\n\r\n"),
  refused(
    "chunked by HTTP/1.0",
    `POST http://HOST/ok HTTP/1.0\r\nHost: HOST\r\nAUTH${CHUNKED}\r\n0\r\n\r\n${SECOND}`,
  ),
  // Fields and lines that are none
  body("a space before the colon", "Content-Length : 4\r\n", "abcd"),
  body("a tab before the colon", "Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n"),
  body("a length on a folded line", "X: 1\r\n Content-Length: 4\r\n", "abcd"),
  body("a folded encoding", "Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"),
  head("a line folded by a tab", "X: 1\r\n\t2\r\n"),
  refused(
    "a fold in the first field",
    `GET http://HOST/ok HTTP/1.1\r\n Host: HOST\r\nHost: HOST\r\nAUTH\r\n${SECOND}`,
  ),
  head("a bare CR in a value", "X: 1\rContent-Length: 4\r\n"),
  head("a bare LF between fields", "X: 1\nY: 2\r\n"),
  head("NUL in a value", "X: a\0b\r\n"),
  head("DEL in a value", "X: a\x7fb\r\n"),
  head("a control character in a value", "X: a\x01b\r\n"),
  head("NUL in a name", "X\0: a\r\n"),
  head("a name in brackets", "[X]: a\r\n"),
  head("a name outside of ASCII", "\u00e9: a\r\n"),
  head("no name", ": a\r\n"),
  head("no colon", "X\r\n"),
  refused("bare LF for CR LF", `GET http://HOST/ok HTTP/1.1\nHost: HOST\nAUTH\n${SECOND}`),
  refused(
    "an empty line ended by LF",
    `GET http://HOST/ok HTTP/1.1\r\nHost: HOST\r\nAUTH\n${SECOND}`,
  ),
  refused("an LF CR", `GET http://HOST/ok HTTP/1.1\n\rHost: HOST\r\nAUTH\r\n${SECOND}`),
  refused(
    "a head that is too long",
    `GET http://HOST/ok HTTP/1.1\r\nHost: HOST\r\nAUTHX: ${"a".repeat(17_000)}\r\n\r\n`,
  ),
  head("too many fields", "X: 1\r\n".repeat(257)),
  // Request lines
  line("a version that is none", "GET http://HOST/ok HTTP/1.2"),
  line("HTTP/0.9", "GET http://HOST/ok"),
  line("HTTP/2.0 in words", "GET http://HOST/ok HTTP/2.0"),
  line("a version in lower case", "GET http://HOST/ok http/1.1"),
  line("two spaces", "GET  http://HOST/ok HTTP/1.1"),
  line("a tab", "GET\thttp://HOST/ok HTTP/1.1"),
  line("a space in the target", "GET http://HOST/ok HTTP/1.1 HTTP/1.1"),
  line("a space at the end", "GET http://HOST/ok HTTP/1.1 "),
  line("a method in lower case", "GEt http://HOST/ok HTTP/1.1"),
  line("a target outside of ASCII", "GET http://HOST/ok/\u00e9 HTTP/1.1"),
  line("NUL in the target", "GET http://HOST/ok\0 HTTP/1.1"),
  line("an asterisk", "OPTIONS * HTTP/1.1"),
  line("a target that is neither", "GET HOST/ok HTTP/1.1"),
  line("another scheme", "GET ftp://HOST/ok HTTP/1.1"),
  line("TLS asked for without TLS", "GET https://HOST/ok HTTP/1.1"),
  line("a fragment", "GET http://HOST/ok#x HTTP/1.1"),
  line("a user and a password", "GET http://HOST@evil.example/ok HTTP/1.1"),
  // Who it is for
  head("two hosts", "Host: evil.example\r\n"),
  head("the same host twice", "Host: HOST\r\n"),
  refused("another host", `GET http://HOST/ok HTTP/1.1\r\nHost: evil.example\r\nAUTH\r\n${SECOND}`),
  refused("no host", `GET http://HOST/ok HTTP/1.1\r\nAUTH\r\n${SECOND}`.replace("http://HOST", "")),
  refused("an empty host", `GET http:///ok HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n${SECOND}`),
  refused("a path alone, to a proxy", `GET /ok HTTP/1.1\r\nHost: HOST\r\nAUTH\r\n${SECOND}`),
  refused("a host with a path", `GET http://HOST/ok HTTP/1.1\r\nHost: HOST/x\r\nAUTH\r\n${SECOND}`),
  refused(
    "a name whose address is octal",
    `GET http://0177.0.0.1/ok HTTP/1.1\r\nHost: 0177.0.0.1\r\nAUTH\r\n${SECOND}`,
  ),
  refused(
    "a name whose address is one number",
    `GET http://2130706433/ok HTTP/1.1\r\nHost: 2130706433\r\nAUTH\r\n${SECOND}`,
  ),
  // What is asked for
  elsewhere("out of its scope by dots", "/ok/../secret"),
  elsewhere("out of its scope by escaped dots", "/ok/%2e%2e/secret"),
  line("out of its scope by an escaped slash", "GET http://HOST/ok/..%2fsecret HTTP/1.1"),
  line("out of its scope by a backslash", "GET http://HOST/ok/..\\secret HTTP/1.1"),
  line("out of its scope by a parameter", "GET http://HOST/ok/..;/secret HTTP/1.1"),
  line("out of its scope by two escapes", "GET http://HOST/ok/%252e%252e/secret HTTP/1.1"),
  line("out of its scope by an overlong slash", "GET http://HOST/ok/..%c0%afsecret HTTP/1.1"),
  elsewhere("out of its scope by case", "/OK"),
  line("an escaped NUL", "GET http://HOST/ok%00.html HTTP/1.1"),
  line("an escaped line end", "GET http://HOST/ok%0d%0aX:%201 HTTP/1.1"),
  head("another method in a field", "X-HTTP-Method-Override: DELETE\r\n"),
  head("another method in a field of another name", "x_method_override: delete\r\n"),
  head("another method in a field spelled both ways", "X-HTTP_Method-Override: DELETE\r\n"),
  head("another path in a field", "X-Original-URL: /admin\r\n"),
  head("another path in a field of another name", "x_rewrite_url: /admin\r\n"),
  // What it asks of the connection
  head("an expectation nobody knows", "Expect: 200-ok\r\n"),
  body(
    "a length listed as the connection's",
    "Content-Length: 4\r\nConnection: content-length\r\n",
    "abcd",
  ),
  head("a host listed as the connection's", "Connection: close, Host\r\n"),
  refused(
    "CONNECT with a body",
    `CONNECT HOST HTTP/1.1\r\nHost: HOST\r\nAUTHContent-Length: 4\r\n\r\nabcd${SECOND}`,
  ),
  // Bodies that break their own framing
  body("a chunk size of nothing", CHUNKED, "\r\n\r\n"),
  body("a chunk size with a sign", CHUNKED, "+1\r\na\r\n0\r\n\r\n"),
  body("a chunk size with 0x", CHUNKED, "0x1\r\na\r\n0\r\n\r\n"),
  body("a chunk size with a space", CHUNKED, "1 \r\na\r\n0\r\n\r\n"),
  body("a chunk size behind a space", CHUNKED, " 1\r\na\r\n0\r\n\r\n"),
  body("a chunk size with an underscore", CHUNKED, "1_0\r\na\r\n0\r\n\r\n"),
  body("a chunk size beyond everything", CHUNKED, "ffffffffffffffffff\r\na\r\n0\r\n\r\n"),
  body("a negative chunk size", CHUNKED, "-1\r\na\r\n0\r\n\r\n"),
  body("a chunk line ended by LF", CHUNKED, "1\na\r\n0\r\n\r\n"),
  body("a chunk ended by LF", CHUNKED, "1\r\na\n0\r\n\r\n"),
  body("a chunk longer than it says", CHUNKED, "1\r\nab\r\n0\r\n\r\n"),
  body("a chunk without an end", CHUNKED, "1\r\na0\r\n\r\n"),
  body("LF in an extension", CHUNKED, "1;a\nb\r\na\r\n0\r\n\r\n"),
  body("CR in an extension", CHUNKED, "1;a\rb\r\na\r\n0\r\n\r\n"),
  body("an extension without end", CHUNKED, `1;${"a".repeat(300)}\r\na\r\n0\r\n\r\n`),
  body("a last chunk ended by LF", CHUNKED, "0\n\n"),
  body("a trailer without a colon", CHUNKED, "0\r\nX\r\n\r\n"),
  body("a folded trailer", CHUNKED, "0\r\nX: 1\r\n 2\r\n\r\n"),
  body("NUL in a trailer", CHUNKED, "0\r\nX: \0\r\n\r\n"),
  body("a trailer that repeats a field", `X-Account: 1\r\n${CHUNKED}`, "0\r\nX-Account: 2\r\n\r\n"),
  body(
    "a trailer that reads as a field",
    `X-Account: 1\r\n${CHUNKED}`,
    "0\r\nx_account: 2\r\n\r\n",
  ),
  body("a length in the trailers", CHUNKED, "0\r\nContent-Length: 4\r\n\r\n"),
  body("an encoding in the trailers", CHUNKED, "0\r\nTransfer-Encoding: chunked\r\n\r\n"),
  // What is odd, and means one thing
  passes(
    "a name in capitals with a port",
    `GET http://HOST/ok HTTP/1.1\r\nHOST: HOST\r\nAUTHConnection: close\r\n\r\n`,
    "GET /ok HTTP/1.1\r\nHOST: HOST\r\n\r\n",
  ),
  passes(
    "dots within its scope",
    "GET http://HOST/ok/./a/../%62?c=%2e%2e//#".slice(0, -1) +
      " HTTP/1.1\r\nHost: HOST\r\nAUTHConnection: close\r\n\r\n",
    "GET /ok/b?c=%2e%2e// HTTP/1.1\r\nHost: HOST\r\n\r\n",
  ),
  passes(
    "an extension that means nothing",
    `POST http://HOST/ok HTTP/1.1\r\nHost: HOST\r\nAUTHConnection: close\r\n${CHUNKED}\r\n1;a="b"\r\nx\r\n000\r\n\r\n`,
    `POST /ok HTTP/1.1\r\nHost: HOST\r\n${CHUNKED}\r\n1\r\nx\r\n0\r\n\r\n`,
  ),
  passes(
    "an upgrade to h2c",
    "GET http://HOST/ok HTTP/1.1\r\nHost: HOST\r\nAUTHConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "GET /ok HTTP/1.1\r\nHost: HOST\r\n\r\n",
  ),
  passes(
    "fields of the connection, and of ours",
    "GET http://HOST/ok HTTP/1.1\r\nHost: HOST\r\nAUTHConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-Dragons-Scope: all\r\nDragons-Receipt: rcp_1\r\nX-End: 1\r\n\r\n",
    "GET /ok HTTP/1.1\r\nHost: HOST\r\nX-End: 1\r\n\r\n",
  ),
  passes(
    "blanks around a value",
    "GET http://HOST/ok HTTP/1.1\r\nHost: HOST\r\nAUTHConnection: close\r\nX: \t a b \t\r\nY:\r\n\r\n",
    "GET /ok HTTP/1.1\r\nHost: HOST\r\nX: a b\r\nY: \r\n\r\n",
  ),
  passes(
    "its own method in a field",
    "GET http://HOST/ok HTTP/1.1\r\nHost: HOST\r\nAUTHConnection: close\r\nX-HTTP-Method-Override: GET\r\n\r\n",
    "GET /ok HTTP/1.1\r\nHost: HOST\r\nX-HTTP-Method-Override: GET\r\n\r\n",
  ),
  passes(
    "a body by GET",
    "GET http://HOST/ok HTTP/1.1\r\nHost: HOST\r\nAUTHConnection: close\r\nContent-Length: 2\r\n\r\nhi",
    "GET /ok HTTP/1.1\r\nHost: HOST\r\nContent-Length: 2\r\n\r\nhi",
  ),
];

/** The bytes of a case for one upstream. */
export const spell = (bytes: string, host: string, authorization: string): string =>
  bytes
    .replaceAll("HOST/", `${host}/`)
    .replaceAll("HOST\r\n", `${host}\r\n`)
    .replaceAll("HOST ", `${host} `)
    .replaceAll("HOST@", `${host}@`)
    .replaceAll("AUTH", authorization);
