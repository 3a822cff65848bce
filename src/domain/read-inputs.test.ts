import { describe, expect, test } from "vitest";
import { type InputName, inputName, inputsProblem } from "./input.ts";
import { inputValueMax } from "./limits.ts";
import { needsOf, type Readable, readInputs } from "./read-inputs.ts";
import { compileWhen } from "./when-parser.ts";

/** What is read of a request for one name: `TYPE value`, or null where it is not there. */
function read(of: InputName, request: Partial<Readable>): string | null {
  const needs = needsOf([of]);
  if (needs === null) throw new Error(`${of.name} is read off the claim`);
  const inputs = readInputs(needs, { query: "", fields: [], body: null, ...request });
  expect(inputsProblem(inputs)).toBeNull();
  expect(inputs.length).toBeLessThan(2);
  const [input] = inputs;
  if (input !== undefined) expect(input.name).toBe(of.name);
  return input === undefined ? null : `${input.type} ${input.value}`;
}

describe("a query", () => {
  test.each<[string, string, string | null]>([
    ["a", "", null],
    ["a", "?a=1", "STRING 1"],
    ["a", "?a", "STRING "],
    ["a", "?a=", "STRING "],
    ["a", "?b=2&a=x%20y%C3%A9&c", "STRING x yé"],
    ["a", "?%61=1", "STRING 1"],
    ["a", "?a=1=2", "STRING 1=2"],
    ["a", "?a=1&a=1", "UNREADABLE TWICE"],
    ["a", "?a=1&%61=2", "UNREADABLE TWICE"],
    ["a", "?a=1&A=2", "UNREADABLE TWICE"],
    ["page-size", "?page-size=1&page_size=2", "UNREADABLE TWICE"],
    ["a", "?A=1", null],
    ["a", "?a=x+y", "UNREADABLE NOT_TEXT"],
    ["a", "?a=x%2By", "STRING x+y"],
    ["a", "?b=x+y&a=1", "STRING 1"],
    ["a", "?x+y=1&a=1", "UNREADABLE NOT_TEXT"],
    ["a", "?b=1;a=2", "UNREADABLE NOT_TEXT"],
    ["a", "?a=%FF", "UNREADABLE NOT_TEXT"],
    ["a", "?%FF=1&a=1", "UNREADABLE NOT_TEXT"],
    ["a", "?b=%FF&a=1", "STRING 1"],
    ["a", "?&&a=1&", "STRING 1"],
    ["a", `?a=${"x".repeat(inputValueMax)}`, `STRING ${"x".repeat(inputValueMax)}`],
    ["a", `?a=${"x".repeat(inputValueMax + 1)}`, "UNREADABLE TOO_LONG"],
    ["a[]", "?a[]=1", "STRING 1"],
    // What PHP and Rack make of one name: a list, a space before it, `.` and ` ` for `_`.
    ["a", "?a=1&a[]=2", "UNREADABLE TWICE"],
    ["a", "?a=1&a%5B0%5D=2", "UNREADABLE TWICE"],
    ["a", "?a=1&%20a=2", "UNREADABLE TWICE"],
    ["a_b", "?a_b=1&a.b=2", "UNREADABLE TWICE"],
    ["a.b", "?a.b=1&a%20b=2", "UNREADABLE TWICE"],
    ["a", "?a[]=1", null],
    ["a[x]", "?a[x]=1&a[y]=2", "STRING 1"],
    ["a[x]", "?a[x]=1&a=2", "UNREADABLE TWICE"],
    ["a", "?a=1&ab[]=2", "STRING 1"],
    // Where C reads it, text ends at a NUL.
    ["a", "?a=1%00", "UNREADABLE NOT_TEXT"],
    ["a", "?a=1&a%00b=2", "UNREADABLE NOT_TEXT"],
  ])("%s of %s", (key, query, expected) => {
    expect(read(inputName("query", [key]), { query })).toBe(expected);
  });
});

describe("header fields", () => {
  test.each<[string, string[], string | null]>([
    ["x-a", [], null],
    ["x-a", ["x-a", "1"], "STRING 1"],
    ["x-a", ["X-A", " \t1 2\t "], "STRING 1 2"],
    ["x-a", ["x-a", ""], "STRING "],
    ["x-a", ["x-a", "1", "X-A", "1"], "UNREADABLE TWICE"],
    ["x-a", ["x-a", "1", "x_a", "2"], "UNREADABLE TWICE"],
    ["x-a", ["x_a", "1"], null],
    ["x-a", ["x-a", "caf\u00e9"], "UNREADABLE NOT_TEXT"],
    ["x-a", ["x-a", "a\tb"], "UNREADABLE NOT_TEXT"],
  ])("%s of %j", (key, fields, expected) => {
    expect(read(inputName("header", [key]), { fields })).toBe(expected);
  });
});

describe("a body", () => {
  const JSON_TYPE = ["content-type", "application/json"];
  const at = (path: string) => inputName("json", path.split("."));
  const body = (text: string) => new TextEncoder().encode(text);

  test.each<[string, string, string | null]>([
    ["a", '{"a":1}', "INT 1"],
    ["a", '{"a":"1"}', "STRING 1"],
    ["a", '{"a":true}', "BOOL true"],
    ["a.b.c", '{"a":{"b":{"c":-7}}}', "INT -7"],
    ["a", '{"b":1}', null],
    ["a", "[]", null],
    ["a", '"a"', null],
    ["a.b", '{"a":1}', null],
    ["a.b", '{"a":[{"b":1}]}', null],
    ["a", '{"a":null}', "UNREADABLE NOT_SCALAR"],
    ["a", '{"a":[1]}', "UNREADABLE NOT_SCALAR"],
    ["a", '{"a":{}}', "UNREADABLE NOT_SCALAR"],
    ["a", '{"a":1.0}', "UNREADABLE NOT_INT64"],
    ["a", '{"a":9223372036854775808}', "UNREADABLE NOT_INT64"],
    ["a", '{"a":9007199254740993}', "INT 9007199254740993"],
    ["a", '{"a":1,"b":1.5}', "INT 1"],
    ["a", '{"a":1,"a":2}', "UNREADABLE BAD_JSON"],
    ["a", '{"a":1,"x":{"b":1,"b":2}}', "UNREADABLE BAD_JSON"],
    ["a", '{"a":1,"A":2}', "UNREADABLE TWICE"],
    ["kind", '{"kind":1,"\u212aind":2}', "UNREADABLE TWICE"],
    ["is", '{"is":1,"i\u017f":2}', "UNREADABLE TWICE"],
    ["a.b", '{"a":{"b":1,"B":2}}', "UNREADABLE TWICE"],
    ["a.b", '{"a":{"b":1},"A":{}}', "UNREADABLE TWICE"],
    ["a", '{"A":2}', null],
    ["a", "{", "UNREADABLE BAD_JSON"],
    ["a", "", null],
    ["a", `{"a":"${"x".repeat(inputValueMax + 1)}"}`, "UNREADABLE TOO_LONG"],
  ])("%s of %s", (path, text, expected) => {
    expect(read(at(path), { fields: JSON_TYPE, body: body(text) })).toBe(expected);
  });

  test.each<[string[], string]>([
    [["content-type", "application/json; charset=utf-8"], "INT 1"],
    [["Content-Type", "Application/Problem+JSON"], "INT 1"],
    [["content-type", "application/json", "content-encoding", "identity"], "INT 1"],
    [[], "UNREADABLE NOT_JSON"],
    [["content-type", "text/plain"], "UNREADABLE NOT_JSON"],
    [["content-type", "application/jsonp"], "UNREADABLE NOT_JSON"],
    [["content-type", "application/json; charset=utf-16"], "UNREADABLE NOT_JSON"],
    [["content-type", "application/json", "content-type", "text/plain"], "UNREADABLE NOT_JSON"],
    [["content-type", "application/json", "content-encoding", "gzip"], "UNREADABLE NOT_JSON"],
    [["content-type", "application/json", "content_type", "text/plain"], "UNREADABLE NOT_JSON"],
  ])("by %j", (fields, expected) => {
    expect(read(at("a"), { fields, body: body('{"a":1}') })).toBe(expected);
  });

  test.each(["TOO_LONG", "TOO_LATE", "BROKEN_OFF"] as const)("that is %s cannot be read", (why) => {
    expect(read(at("a"), { fields: JSON_TYPE, body: why })).toBe(`UNREADABLE BODY_${why}`);
  });

  test("holds the arguments of MCP calls", () => {
    const text =
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":2}}}';
    expect(read(inputName("args", ["a"]), { fields: JSON_TYPE, body: body(text) })).toBe("INT 2");
  });
});

test("conditions together need each input once, sorted, and a body only if one stands in it", () => {
  const inputs = (source: string) => {
    const when = compileWhen(source);
    if (typeof when === "string") throw new Error(when);
    return when.inputs;
  };
  const both = [...inputs('query.b == 1 && path[0] == "x"'), ...inputs("query.b == 2 || query.a")];
  expect(needsOf(both)).toMatchObject({
    inputs: [{ name: "query.a" }, { name: "query.b" }],
    body: false,
  });
  expect(needsOf(inputs("json.a"))).toMatchObject({ body: true });
  expect(needsOf(inputs('path[0] == "x"'))).toBeNull();
  expect(needsOf([])).toBeNull();
});
