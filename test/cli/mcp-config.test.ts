import { readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Terminal } from "./terminal.ts";

/** `dragons mcp install` and `uninstall`, on the configuration of an MCP client. */

const ORIGINAL = `{
    "theme": "dark",
    "mcpServers": {
        "My Tracker": {"command": "npx", "args": ["-y", "tracker"], "env": {"TOKEN": "s3cret"}},
        "files":   { "command": "/usr/bin/files" },
        "remote": { "type": "http", "url": "https://remote.example/mcp?key=1" }
    }
}
`;

let terminal: Terminal;
let file: string;

beforeEach(async () => {
  terminal = await Terminal.open();
  file = terminal.path("config.json");
  await writeFile(file, ORIGINAL, { mode: 0o640 });
});
afterEach(() => terminal.close());

const install = (...flags: string[]) => terminal.dragons("mcp", "install", file, ...flags);
const text = () => readFile(file, "utf8");
const servers = async () =>
  (JSON.parse(await text()) as { mcpServers: Record<string, Record<string, unknown>> }).mcpServers;
const launcher = join(import.meta.dirname, "../../bin/dragons");

describe("dragons mcp install", () => {
  test("puts itself before every server that is a command, and says what it left", async () => {
    const { code, out, err } = await install();
    expect(code).toBe(0);
    expect(await servers()).toMatchObject({
      "My Tracker": {
        command: launcher,
        args: ["mcp", "--server", "my-tracker", "--", "npx", "-y", "tracker"],
        env: { TOKEN: "s3cret" },
      },
      files: { command: launcher, args: ["mcp", "--server", "files", "--", "/usr/bin/files"] },
      remote: { url: "https://remote.example/mcp?key=1" },
    });
    expect(out).toContain("servers: { remote: https://remote.example/mcp }");
    expect(err).toContain("mcp uninstall");
    // Its indentation, its end, its mode; and what may be secret is for nobody else.
    expect(await text()).toMatch(/^\{\n {4}"theme": "dark",\n[\s\S]*\}\n$/);
    expect((await stat(file)).mode & 0o777).toBe(0o640);
    expect((await stat(`${file}.dragons`)).mode & 0o777).toBe(0o600);
  });

  test("changes nothing the second time, and is put back byte for byte", async () => {
    await install();
    const once = await text();
    expect((await install()).out).toContain("unchanged");
    expect(await text()).toBe(once);
    expect((await terminal.dragons("mcp", "uninstall", file)).code).toBe(0);
    expect(await text()).toBe(ORIGINAL);
    await expect(stat(`${file}.dragons`)).rejects.toThrow("ENOENT");
  });

  test("of a file that was changed since, restores its own entries and leaves the rest", async () => {
    await install("--option=--contain", "--option=off", "--server", "files");
    const changed = (await text()).replace('"dark"', '"light"');
    expect(changed).toContain('"--contain"');
    await writeFile(file, changed);
    const { out } = await terminal.dragons("mcp", "uninstall", file, "-o", "json");
    expect(JSON.parse(out)).toMatchObject([
      { server: "My Tracker", change: "left" },
      { server: "files", change: "restored" },
      { server: "remote", change: "left" },
    ]);
    expect(JSON.parse(await text())).toEqual({
      ...JSON.parse(ORIGINAL),
      theme: "light",
    });
  });

  test("leads a server by HTTP to a sidecar's route, and back", async () => {
    const { out } = await install("--route", "remote=127.0.0.1:9000");
    expect(out).toContain("--route 127.0.0.1:9000=https://remote.example");
    expect((await servers()).remote).toEqual({
      type: "http",
      url: "http://127.0.0.1:9000/mcp?key=1",
    });
    expect((await install("--route", "remote=127.0.0.1:9000")).out).toContain("unchanged");
    await terminal.dragons("mcp", "uninstall", file);
    expect(await text()).toBe(ORIGINAL);
  });

  test("rewrites what a link leads to, and leaves the link", async () => {
    const link = terminal.path("link.json");
    await symlink(file, link);
    expect((await terminal.dragons("mcp", "install", link)).code).toBe(0);
    expect((await servers()).files?.command).toBe(launcher);
    expect(await readFile(link, "utf8")).toBe(await text());
  });

  test.each([
    ["a file that is not there", "no.json", "", [], 78, /no such file/],
    ["comments", "c.json", '{ // mine\n"mcpServers": {} }', [], 78, /c\.json: is not plain JSON/],
    ["no servers", "n.json", "{}", [], 78, /n\.json: has no mcpServers/],
    ["a server that is none", "s.json", '{"mcpServers":{"a":1}}', [], 78, /a is no server/],
    [
      "an unknown server",
      "u.json",
      ORIGINAL,
      ["--server", "x"],
      64,
      /no server x; it has My Tracker/,
    ],
    ["a route that is none", "r.json", ORIGINAL, ["--route", "x"], 64, /is not NAME=HOST:PORT/],
    [
      "two names alike",
      "t.json",
      '{"mcpServers":{"a b":{},"a-b":{}}}',
      [],
      78,
      /called a-b by rules/,
    ],
  ])(
    "says what is wrong with %s, and writes nothing",
    async (_, name, content, flags, code, why) => {
      const path = terminal.path(name);
      if (content !== "") await writeFile(path, content);
      const ran = await terminal.dragons("mcp", "install", path, ...flags);
      expect(ran).toMatchObject({ code, err: expect.stringMatching(why) });
      if (content !== "") expect(await readFile(path, "utf8")).toBe(content);
    },
  );

  test("wants a file or a client that it knows", async () => {
    expect((await terminal.dragons("mcp", "install")).err).toContain("or a client by --client");
    expect((await terminal.dragons("mcp", "install", "--client", "x")).err).toContain("cursor");
  });
});
