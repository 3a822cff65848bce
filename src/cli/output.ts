/**
 * The voice: stdout is data, stderr is talk. Tables for people, JSON for programs; `-o name` gives one
 * identifier a line, for pipes.
 */
export type Format = "table" | "json" | "yaml" | "name";

/** One thing to show: what programs get, and what a table row shows of it. */
export interface Row {
  /** Its identifier, for `-o name`. */
  readonly name: string;
  /** In column order. Times, sizes and hashes already as people read them. */
  readonly cells: Readonly<Record<string, string>>;
  /** All of it, for programs. Bytes as hex, numbers as numbers. */
  readonly data: Json;
}

export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [key: string]: Json };

export const FORMATS: readonly Format[] = ["table", "json", "yaml", "name"];

/** Prints a list. JSON and YAML give an array. */
export function printRows(format: Format, rows: readonly Row[]): void {
  if (format === "name") lines(rows.map((r) => r.name));
  else if (format === "table" && rows.length === 0) say("none");
  else if (format === "table") lines(table(rows.map((r) => r.cells)));
  else
    print(
      format,
      rows.map((r) => r.data),
    );
}

/** Prints one thing: a two-column table, or its data. */
export function printOne(format: Format, row: Row): void {
  if (format === "name") lines([row.name]);
  else if (format === "table") {
    const width = Math.max(...Object.keys(row.cells).map((k) => k.length));
    const line = ([key, value]: [string, string]): string =>
      `${key.toLowerCase().padEnd(width)}  ${value}`;
    lines(Object.entries(row.cells).map(line));
  } else print(format, row.data);
}

/** One line of a stream: a table row without its head, or one JSON object a line. */
export function printEvent(format: Format, row: Row): void {
  if (format === "table") lines([Object.values(row.cells).join("  ")]);
  else if (format === "name") lines([row.name]);
  else lines([JSON.stringify(row.data)]);
}

/** Talk: to people, about what is going on. */
export const say = (text: string): void => void process.stderr.write(`${text}\n`);

function print(format: Format, data: Json): void {
  process.stdout.write(
    format === "json" ? `${JSON.stringify(data, null, 2)}\n` : `${yaml(data)}\n`,
  );
}

const lines = (all: readonly string[]): void => {
  if (all.length > 0) process.stdout.write(`${all.join("\n")}\n`);
};

/** Rows under their head, in columns. */
export function table(rows: readonly Readonly<Record<string, string>>[]): string[] {
  const first = rows[0];
  if (first === undefined) return [];
  const columns = Object.keys(first);
  const widths = columns.map((c) => Math.max(c.length, ...rows.map((r) => (r[c] ?? "").length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] as number))
      .join("  ")
      .trimEnd();
  return [
    line(columns.map((c) => c.toUpperCase())),
    ...rows.map((r) => line(columns.map((c) => r[c] ?? ""))),
  ];
}

/** YAML of plain data: every string quoted as JSON quotes it, which YAML reads alike. */
function yaml(data: Json, indent = ""): string {
  if (Array.isArray(data)) {
    if (data.length === 0) return `${indent}[]`;
    return data
      .map((item) => `${indent}- ${yaml(item, `${indent}  `).slice(indent.length + 2)}`)
      .join("\n");
  }
  if (data !== null && typeof data === "object") {
    const entries = Object.entries(data);
    if (entries.length === 0) return `${indent}{}`;
    return entries
      .map(([key, value]) =>
        isEmptyOrPlain(value)
          ? `${indent}${key}: ${yaml(value)}`
          : `${indent}${key}:\n${yaml(value, `${indent}  `)}`,
      )
      .join("\n");
  }
  return `${indent}${JSON.stringify(data)}`;
}

const isEmptyOrPlain = (value: Json): boolean =>
  value === null || typeof value !== "object" || Object.keys(value).length === 0;
