import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { parse } from "yaml";
import { printEvent, printOne, printRows, type Row } from "./output.ts";

let out: string;
beforeEach(() => {
  out = "";
  vi.spyOn(process.stdout, "write").mockImplementation((chunk) => {
    out += chunk;
    return true;
  });
});
afterEach(() => vi.restoreAllMocks());

const rows: Row[] = [
  { name: "a", cells: { id: "a", state: "running" }, data: { id: "a", n: 1, tags: [] } },
  {
    name: "long",
    cells: { id: "long", state: "-" },
    data: { id: "long", n: 2, tags: ["x: y", ""] },
  },
];

describe("a list", () => {
  test("as a table, under its columns", () => {
    printRows("table", rows);
    expect(out).toBe("ID    STATE\na     running\nlong  -\n");
  });

  test("as names, one a line, for pipes", () => {
    printRows("name", rows);
    expect(out).toBe("a\nlong\n");
  });

  test("as JSON and as YAML it is the same data", () => {
    printRows("json", rows);
    const json = JSON.parse(out);
    expect(json).toEqual(rows.map((r) => r.data));
    out = "";
    printRows("yaml", rows);
    expect(parse(out)).toEqual(json);
  });

  test("of nothing is an empty list to programs, and a word on stderr to people", () => {
    const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    for (const format of ["json", "yaml"] as const) printRows(format, []);
    expect(out).toBe("[]\n[]\n");
    printRows("table", []);
    expect(said).toHaveBeenCalledWith("none\n");
    expect(out).toBe("[]\n[]\n");
  });
});

test("one thing as a column, and as its data", () => {
  printOne("table", rows[0] as Row);
  expect(out).toBe("id     a\nstate  running\n");
  out = "";
  printOne("json", rows[0] as Row);
  expect(JSON.parse(out)).toEqual({ id: "a", n: 1, tags: [] });
});

test("an event is one line in every format, so that a reader may take them as they come", () => {
  for (const format of ["table", "json", "yaml", "name"] as const)
    printEvent(format, rows[0] as Row);
  expect(out.split("\n")).toEqual([
    "a  running",
    '{"id":"a","n":1,"tags":[]}',
    '{"id":"a","n":1,"tags":[]}',
    "a",
    "",
  ]);
});
