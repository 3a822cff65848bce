import { writeFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { toHex } from "../domain/bytes.ts";
import { manifestFilesMax, manifestYamlBytesMax } from "../domain/limits.ts";
import { checkManifest } from "../domain/manifest.ts";
import { compileGlob } from "./glob.ts";
import { measure, renderManifestYaml } from "./manifest-file.ts";
import { parseManifestYaml } from "./manifest-yaml.ts";
import { YamlFileError } from "./strict-yaml.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "manifest-"));
});
afterEach(() => rm(folder, { recursive: true }));

async function put(...paths: string[]): Promise<void> {
  for (const path of paths) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), `content of ${path}`);
  }
}

const YAML = `name: reconciler
version: v7
code:   [agent/**/*.py, requirements.txt]
config: [config.yaml]
capabilities:
  write:ledger:
    - http: POST https://ledger.internal/v1/entries
  read:payments:
    - grpc: payments.v1.Payments/{Get,List}*
      at: Payments.internal:443
  use:tickets:
    - mcp: tools/call create_ticket
      server: tracker
`;
const withCode = (...globs: string[]) =>
  `name: a\nversion: v1\ncode: [${globs.map((g) => JSON.stringify(g)).join(", ")}]\n`;
const paths = async (yaml: string) =>
  (await measure(folder, yaml)).manifest.code.map((f) => f.path);

describe("measure", () => {
  test("makes a manifest of what dragon.yaml names, and nothing else", async () => {
    await put(
      "agent/main.py",
      "agent/lib/util.py",
      "agent/notes.txt",
      "requirements.txt",
      "config.yaml",
    );
    const { manifest, bytes, hash } = await measure(folder, YAML);
    expect(checkManifest(manifest)).toBeNull();
    expect(manifest.code.map((f) => f.path)).toEqual([
      "agent/lib/util.py",
      "agent/main.py",
      "requirements.txt",
    ]);
    expect(manifest.config.map((f) => f.path)).toEqual(["config.yaml"]);
    expect(manifest.config[0]?.size).toBe("content of config.yaml".length);
    expect(manifest.capabilities).toEqual([
      {
        name: "read:payments",
        rules: [
          {
            protocol: "GRPC",
            target: "payments.internal:443",
            verb: "",
            path: "/payments.v1.Payments/{Get,List}*",
            when: "",
            scheme: "UNSPECIFIED",
          },
        ],
      },
      {
        name: "use:tickets",
        rules: [
          {
            protocol: "MCP",
            target: "tracker",
            verb: "tools/call",
            path: "create_ticket",
            when: "",
            scheme: "UNSPECIFIED",
          },
        ],
      },
      {
        name: "write:ledger",
        rules: [
          {
            protocol: "HTTP",
            target: "ledger.internal:443",
            verb: "POST",
            path: "/v1/entries",
            when: "",
            scheme: "HTTPS",
          },
        ],
      },
    ]);
    // Known, so that no machine and no later version measures the same files as something else.
    expect(toHex(hash)).toBe("99271e4da7e5137aa9fa33882437f25258d3e6e7a29039738131bde884324a36");
    expect(bytes.length).toBeGreaterThan(200);
  });

  test("gives the same hash whatever order files and globs stand in", async () => {
    await put("b.py", "a.py", "c/d.py");
    const one = await measure(folder, withCode("**/*.py"));
    const two = await measure(folder, withCode("c/*.py", "b.py", "a.py", "**/*.py"));
    expect(toHex(one.hash)).toBe(toHex(two.hash));
  });

  test("changes with a file's content and with its name", async () => {
    await put("a.py");
    const before = await measure(folder, withCode("*.py"));
    await writeFile(join(folder, "a.py"), "content of a.pz");
    const after = await measure(folder, withCode("*.py"));
    expect(toHex(after.hash)).not.toBe(toHex(before.hash));
  });

  test("leaves nothing out but .dragons at the top", async () => {
    await put(
      ".hidden.py",
      ".git/hook.py",
      "node_modules/x.py",
      ".dragons/data.py",
      "a/.dragons/b.py",
    );
    expect(await paths(withCode("**/*.py"))).toEqual([
      ".git/hook.py",
      ".hidden.py",
      "a/.dragons/b.py",
      "node_modules/x.py",
    ]);
  });

  test("refuses links wherever a glob reaches: to files, to folders, to nowhere", async () => {
    await put("real/a.py");
    await symlink("real/a.py", join(folder, "link.py"));
    await expect(paths(withCode("*.py"))).rejects.toThrow(/link\.py is a symbolic link/);
    await rm(join(folder, "link.py"));
    await symlink("nowhere", join(folder, "gone.py"));
    await expect(paths(withCode("*.py"))).rejects.toThrow(/gone\.py is a symbolic link/);
    await rm(join(folder, "gone.py"));
    await symlink("real", join(folder, "folder"));
    await expect(paths(withCode("**/*.py"))).rejects.toThrow(/folder is a symbolic link/);
    await expect(paths(withCode("folder/*.py"))).rejects.toThrow(/folder is a symbolic link/);
  });

  test("lets links be where no glob reaches", async () => {
    await put("real/a.py", "bin/tool");
    await symlink("../real/a.py", join(folder, "bin/link"));
    await symlink("nowhere", join(folder, "bin/gone"));
    expect(await paths(withCode("**/*.py"))).toEqual(["real/a.py"]);
  });

  test("refuses what is no regular file, without waiting for it", async () => {
    await put("a.py");
    const server = createServer();
    await new Promise<void>((listening) => server.listen(join(folder, "socket.py"), listening));
    await expect(paths(withCode("*.py"))).rejects.toThrow(/socket\.py is not a regular file/);
    await new Promise((closed) => server.close(closed));
  });

  test("refuses a glob that matches nothing, by its line", async () => {
    await put("a.py");
    await expect(paths(`name: a\nversion: v1\ncode:\n  - a.py\n  - b.py\n`)).rejects.toThrow(
      "line 5: b.py matches no file",
    );
  });

  test("refuses names and scopes that no manifest may have", async () => {
    await put("a.py");
    await expect(measure(folder, "name: A b\nversion: v1\ncode: [a.py]\n")).rejects.toThrow(
      /manifest\.name/,
    );
    await expect(
      measure(
        folder,
        `${withCode("a.py")}capabilities:\n  payments:\n    - grpc: a.B/C\n      at: h:1\n`,
      ),
    ).rejects.toThrow(/not a scope name/);
  });

  test("takes as many files as may be, and not one more", async () => {
    await mkdir(join(folder, "f"));
    for (let i = 0; i < manifestFilesMax; i++) writeFileSync(join(folder, `f/${i}`), "");
    expect(await paths(withCode("f/*"))).toHaveLength(manifestFilesMax);
    await put("f/more");
    await expect(paths(withCode("f/*"))).rejects.toThrow(/more than 10000 files match/);
  }, 30_000);
});

describe("the same agent on another machine", () => {
  const name = fc
    .string({
      unit: fc.constantFrom(
        "a",
        "B",
        "é",
        "e\u0301",
        "ß",
        " ",
        ".",
        "-",
        "🐉",
        "{",
        "*",
        "#",
        "'",
        "中",
      ),
      minLength: 1,
      maxLength: 8,
    })
    .filter((n) => n !== "." && n !== "..");
  const content = fc.constantFrom("", "x", "line\n", "line\r\n", "\ufeffline\n");

  test("has the same hash, in whatever order its files were made, whatever they are called", async () => {
    // Listings come sorted by name, so only folders tell whether paths are sorted as a whole.
    const path = fc
      .tuple(fc.constantFrom("d", "d/D", "d/D/D", "d/E"), name)
      .map(([at, n]) => `${at}/${n}`);
    const trees = fc.uniqueArray(fc.tuple(path, content), {
      minLength: 1,
      maxLength: 12,
      selector: ([n]) => n,
    });
    await fc.assert(
      fc.asyncProperty(trees, fc.infiniteStream(fc.nat()), async (files, chance) => {
        const hashes: string[] = [];
        for (const order of [files, shuffled(files, chance)]) {
          const root = await mkdtemp(join(folder, "t-"));
          for (const [n, text] of order) {
            await mkdir(dirname(join(root, n)), { recursive: true });
            await writeFile(join(root, n), text);
          }
          const { manifest, hash } = await measure(root, withCode("d/**"));
          expect(manifest.code.map((f) => f.path).sort()).toEqual(files.map(([n]) => n).sort());
          hashes.push(toHex(hash));
        }
        expect(hashes[0]).toBe(hashes[1]);
      }),
      { numRuns: 40 },
    );
  });

  const shuffled = <T>(list: readonly T[], chance: fc.Stream<number>): T[] =>
    [...list]
      .map((item) => ({ item, key: chance.next().value ?? 0 }))
      .sort((a, b) => a.key - b.key)
      .map(({ item }) => item);

  test("spells names as they are: composed and decomposed letters are two files", async () => {
    await put("caf\u00e9.py", "cafe\u0301.py");
    expect(await paths(withCode("*.py"))).toEqual(["cafe\u0301.py", "caf\u00e9.py"]);
  });

  test("leaves line ends and marks of order alone", async () => {
    const hashes = new Set<string>();
    for (const text of ["a\n", "a\r\n", "\ufeffa\n"]) {
      await writeFile(join(folder, "a.py"), text);
      hashes.add(toHex((await measure(folder, withCode("a.py"))).hash));
    }
    expect(hashes.size).toBe(3);
  });

  test("of five thousand files in many folders is measured", async () => {
    for (let d = 0; d < 50; d++) {
      await mkdir(join(folder, `p/d${d}`), { recursive: true });
      for (let i = 0; i < 100; i++) writeFileSync(join(folder, `p/d${d}/f${i}.py`), `${d} ${i}`);
    }
    const { manifest } = await measure(folder, withCode("p/**/*.py"));
    expect(manifest.code).toHaveLength(5000);
    expect(checkManifest(manifest)).toBeNull();
  }, 30_000);

  test("refuses a name that is no text: two of them could pass for one file", async () => {
    await put("a\ufffd.py");
    writeFileSync(
      Buffer.concat([Buffer.from(join(folder, "a")), Buffer.of(0xff), Buffer.from(".py")]),
      "x",
    );
    await expect(paths(withCode("*.py"))).rejects.toThrow(
      /a\ufffd\.py has a name that is not UTF-8/,
    );
    await expect(paths(withCode("b/**", "a?.py"))).rejects.toThrow(/is not UTF-8/);
    await put("lib/b.py");
    expect(await paths(withCode("lib/*.py"))).toEqual(["lib/b.py"]);
  });
});

describe("dragon.yaml", () => {
  const failure = (yaml: string): string => {
    try {
      parseManifestYaml(yaml);
    } catch (error) {
      if (error instanceof YamlFileError) return error.message;
      throw error;
    }
    return "accepted";
  };
  const scoped = (...lines: string[]) =>
    `name: a\nversion: v1\ncode: []\ncapabilities:\n  read:a:\n${lines.map((l) => `    ${l}\n`).join("")}`;

  test("speaks of opaque places by host and port alone", () => {
    const { capabilities } = parseManifestYaml(scoped("- opaque: Bank.example.:8443"));
    expect(capabilities[0]?.rules).toEqual([
      {
        protocol: "OPAQUE",
        target: "bank.example:8443",
        verb: "",
        path: "",
        when: "",
        scheme: "HTTPS",
      },
    ]);
  });

  test.each([
    ["name: a\nversion: v1\ncode: []\n", "accepted"],
    ["", "the file is not a mapping of keys to values"],
    ["- a\n", "line 1: the file is not a mapping of keys to values"],
    ["name: a\nversion: v1\n", "has no `code`"],
    ["version: v1\ncode: []\n", "has no `name`"],
    [
      "name: a\nversion: v1\ncode: []\ncapabilites: {}\n",
      "line 4: the file has the unknown key `capabilites`; did you mean `capabilities`?",
    ],
    [
      "name: a\nversion: v1\ncode: []\nlimits: {}\n",
      "line 4: the file has the unknown key `limits`; known are name, version, code, config, runtime, capabilities, servers, listens",
    ],
    [
      "name: a\nversion: v1\ncode: []\nlistens: [read:events]\n",
      "line 4: listens: read:events is none of the capabilities; there are none",
    ],
    [
      `${YAML}listens: [read:ledger, 7]\n`,
      "line 14: listens: read:ledger is none of the capabilities; those are read:payments, use:tickets, write:ledger",
    ],
    [
      `${YAML}listens:\n  - write:ledger\n  - write:ledger\n`,
      "line 16: listens: write:ledger stands there twice",
    ],
    [`${YAML}listens: [[write:ledger]]\n`, "line 14: listens is not text"],
    [
      "name: a\nversion: v1\ncode: []\nlistens: read:events\n",
      "line 4: listens is not a list; write listens: [read:events]",
    ],
    ["name: a\nname: b\nversion: v1\ncode: []\n", "line 2: Map keys must be unique"],
    ["name: [a]\nversion: v1\ncode: []\n", "line 1: name is not text"],
    [
      "name: a\nversion: v1\ncode: agent.py\n",
      "line 3: code is not a list; write code: [agent/**/*.py]",
    ],
    [
      "name: a\nversion: v1\ncode: [../a]\n",
      "line 3: code: the glob ../a has the segment ..; write it without",
    ],
    [
      "name: a\nversion: v1\ncode: [/etc/*]\n",
      "line 3: code: the glob /etc/* begins or ends with /, or has //; write it relative to the manifest",
    ],
    [
      "config: &x [a]\nname: a\nversion: v1\ncode: *x\n",
      "line 4: has an alias (*name); write the value out",
    ],
    ["name: &x a\nversion: v1\ncode: []\n", "line 1: has the anchor &x; write the value without"],
    ["name: a\n---\nname: b\n", /^line 2: Source contains multiple documents/],
    ["name: a\n\tversion: v1\n", /^line 2: /],
    [scoped("[]"), "accepted"],
    [scoped("- at: h:1"), "line 6: a rule of read:a has one of `grpc`, `http`, `mcp` and `opaque`"],
    [scoped("- grpc: a.B/C"), "line 6: a rule of read:a has `grpc` but no `at`"],
    [
      scoped("- grpc: a.B/C", "  http: GET https://h/"),
      "line 6: a rule of read:a has one of `grpc`, `http`, `mcp` and `opaque`",
    ],
    [
      scoped("- grpc: a.B/C", "  at: h:1", "  server: x"),
      "line 8: `server` does not stand with `grpc`",
    ],
    [scoped("- grpc: a.B/C", "  at: h"), "line 6: a rule of read:a has no port; write at: h:443"],
    [
      scoped("- grpc: /a.B/C", "  at: h:1"),
      "line 6: a rule of read:a begins with /; write grpc: a.B/C",
    ],
    [scoped("- grpc: a.B", "  at: h:1"), /write \/package\.Service\/Method$/],
    [scoped("- grpc: a.B/C", "  at: h:1", "  if: x"), /unknown key `if`/],
    [
      scoped("- grpc: a.B/C", "  at: h:1", "  when: x > 1"),
      /a condition \(`when`\) that reads `x`; known are path, query, header, json, args/,
    ],
    [scoped("- grpc: a.B/C", "  at: 0177.0.0.1:1"), /four decimal numbers/],
    [scoped("- http: GET /x"), /is not such as http: POST https:/],
    [scoped("- http: get https://h/x"), /the method "get"/],
    [scoped("- http: GET https://u@h/x"), /is not such as http: POST https:/],
    [scoped("- mcp: tools/call", "  server: x"), /names nothing; write \* for any name/],
    [
      scoped("- mcp: tools/call a b", "  server: x"),
      /is not such as mcp: tools\/call create_ticket/,
    ],
    [
      scoped("- grpc: a.B/C", "  at: h:1", "- grpc: a.B/*", "  at: h:1"),
      /line 6: a rule of read:a allows nothing that rule 2 does not allow/,
    ],
    [scoped("- mcp: tools/call x"), /has `mcp` but no `server`/],
    [
      scoped("- opaque: bank.example"),
      "line 6: a rule of read:a has no port; write opaque: bank.example:443",
    ],
    [scoped("- opaque: https://bank.example"), /has a scheme; write opaque: HOST:PORT/],
    [scoped("- opaque: bank.example:443/x"), /which is not host:port/],
    [scoped("- opaque: '*.example:443'"), /has the label "\*"/],
    [scoped("- opaque: h:1", "  at: h:1"), /`at` does not stand with `opaque`/],
    [scoped("- opaque: h:1", "  when: json.a"), /of OPAQUE actions it can read nothing/],
    [scoped("- opaque: h:1", "- opaque: h:1"), /allows nothing that rule 1 does not allow/],
  ])("%j: %s", (yaml, message) => {
    if (typeof message === "string") expect(failure(yaml)).toBe(message);
    else expect(failure(yaml)).toMatch(message);
  });

  test("takes every value as the text that stands there", () => {
    const { agentVersion, name } = parseManifestYaml("name: null\nversion: 1.10\ncode: []\n");
    expect([name, agentVersion]).toEqual(["null", "1.10"]);
  });

  test("is bounded", () => {
    const base = "name: a\nversion: v1\ncode: []\n#";
    expect(failure(base + "x".repeat(manifestYamlBytesMax - base.length))).toBe("accepted");
    expect(failure(base + "x".repeat(manifestYamlBytesMax - base.length + 1))).toMatch(
      /longer than/,
    );
  });

  test("comes back from renderManifestYaml as it was", async () => {
    await put("agent/main.py", "requirements.txt", "config.yaml");
    const extra = `${YAML}  use:local:\n    - grpc: a.B/*\n      at: "[::1]:7000"\n    - grpc: a.B/*\n      at: https://h:7000\n    - http: GET http://h/a/*\nruntime: "python 3.12: x"\nlistens: [write:ledger, use:local]\n`;
    const first = await measure(folder, extra);
    expect(first.manifest.listens).toEqual(["use:local", "write:ledger"]);
    const again = await measure(folder, renderManifestYaml(first.manifest));
    expect(again.manifest).toEqual(first.manifest);
  });
});

describe("a glob", () => {
  const table: [string, string, boolean][] = [
    ["a/**/*.py", "a/b.py", true],
    ["a/**/*.py", "a/b/c/d.py", true],
    ["a/**/*.py", "b/a/c.py", false],
    ["**/*.py", "a.py", true],
    ["**", "a/b", true],
    ["a/**", "a/b/c", true],
    ["a/**", "a", false],
    ["**/b/**/c", "b/c", true],
    ["**/b/**/c", "x/b/y/z/c", true],
    ["*.py", "a/b.py", false],
    ["*.py", ".py", true],
    ["?.py", "a.py", true],
    ["?.py", "ab.py", false],
    ["?.py", "🐉.py", true],
    ["{a,bc}*.{js,ts}", "bcd.ts", true],
    ["{a,bc}*.{js,ts}", "d.ts", false],
    ["a.b", "axb", false],
    ["*a*b*", "xxaxxbxx", true],
    ["*a*b*", "xxbxxaxx", false],
  ];
  test.each(table)("%s and %s: %s", (source, path, matches) => {
    const glob = compileGlob(source);
    if (typeof glob === "string") throw new Error(glob);
    expect(glob.matches(path.split("/"))).toBe(matches);
    // What leads to a match is always looked into.
    const names = path.split("/");
    if (matches) {
      for (let i = 1; i < names.length; i++) expect(glob.reaches(names.slice(0, i))).toBe(true);
    }
  });

  test("does not look into folders that cannot hold a match", () => {
    const glob = compileGlob("agent/*.py");
    if (typeof glob === "string") throw new Error(glob);
    expect(glob.reaches(["agent"])).toBe(true);
    expect(glob.reaches(["node_modules"])).toBe(false);
    expect(glob.reaches(["agent", "deep"])).toBe(false);
  });

  test.each([
    "",
    "/a",
    "a/",
    "a//b",
    "./a",
    "a/../b",
    "a\\b",
    "a**",
    "{a",
    "a}",
    "{a/b}",
    "{}",
    "{a,}",
    "{a*}",
    "{a,{b}}",
  ])("%j is refused", (source) => {
    expect(compileGlob(source)).toBeTypeOf("string");
  });

  test("ends, however many ways a name nearly matches", () => {
    const glob = compileGlob(`${"*a".repeat(100)}b`);
    if (typeof glob === "string") throw new Error(glob);
    expect(glob.matches(["a".repeat(255)])).toBe(false);
  });
});
