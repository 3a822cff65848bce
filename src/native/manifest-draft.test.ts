import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { draftFromFolder, draftManifest, redraft } from "./manifest-draft.ts";
import { measure } from "./manifest-file.ts";
import { parseManifestYaml } from "./manifest-yaml.ts";

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

describe("a draft", () => {
  test("names the script, its siblings and its companions, and can be measured", async () => {
    await put("my_agent.py", "helper.py", "requirements.txt", "notes.txt");
    const yaml = await draftManifest({
      folder,
      name: "my-agent",
      command: ["/usr/bin/python3", "./my_agent.py", "--fast"],
    });
    const { manifest } = await measure(folder, yaml);
    expect(manifest).toMatchObject({
      name: "my-agent",
      agentVersion: "draft",
      runtime: "python3",
      capabilities: [],
    });
    expect(manifest.code.map((f) => f.path)).toEqual([
      "helper.py",
      "my_agent.py",
      "requirements.txt",
    ]);
  });

  test("of a bare command has no code, and a name all the same", async () => {
    const yaml = await draftManifest({ folder, command: ["curl", "https://x"] });
    const { manifest } = await measure(folder, yaml);
    expect(manifest.code).toEqual([]);
    expect(manifest.name).toMatch(/^manifest-/);
    const odd = await draftManifest({ folder: join(folder, "___"), command: [] });
    expect(parseManifestYaml(odd).name).toBe("agent");
  });

  test("carries the scopes that were asked for", async () => {
    const rules = [
      {
        protocol: "GRPC" as const,
        target: "h:1",
        verb: "",
        path: "/a.B/C",
        when: "",
        scheme: "UNSPECIFIED" as const,
      },
    ];
    const yaml = await draftManifest({
      folder,
      command: ["x"],
      capabilities: [{ name: "use:b", rules }],
    });
    expect((await measure(folder, yaml)).manifest.capabilities).toEqual([{ name: "use:b", rules }]);
  });
});

describe("a draft of a folder", () => {
  const draft = () => draftFromFolder(folder, { name: "a", runtime: "" });
  const drafted = async () => (await measure(folder, await draft())).manifest;

  test("names code by what is there, what it is built from, and what configures it", async () => {
    await put(
      "main.py",
      "agent/a.py",
      "agent/deep/b.py",
      "agent/tool.sh",
      "requirements.txt",
      "config.yaml",
      "prompts/system.md",
      "README.md",
      "dragon.yaml",
    );
    expect(await draftFromFolder(folder, { name: "a", runtime: "python3" })).toBe(`name: a
version: v1
code:
  - "*.py"
  - agent/**/*.py
  - agent/**/*.sh
  - requirements.txt
config:
  - config.yaml
  - prompts/**
runtime: python3
capabilities: {}
# What it may ask for, by scope. A refusal prints the lines that are missing here.
# capabilities:
#   read:payments:
#     - grpc: payments.v1.Payments/{Get,List}*
#       at: payments.internal:443
`);
    expect((await drafted()).code).toHaveLength(5);
  });

  test("passes over what tools make, and goes round links, so that it can be measured", async () => {
    await put(
      "node_modules/x/index.js",
      ".git/hook.py",
      "pkg/node_modules/y.js",
      "pkg/src/a.js",
      "pkg/b.js",
      "web/app.ts",
    );
    await symlink("app.ts", join(folder, "web/link.ts"));
    await symlink("../pkg", join(folder, "web/pkg"));
    expect((await drafted()).code.map((f) => f.path)).toEqual([
      "pkg/b.js",
      "pkg/src/a.js",
      "web/app.ts",
    ]);
  });

  test("of an empty folder can be measured as well", async () => {
    expect(await drafted()).toMatchObject({ code: [], config: [], capabilities: [] });
  });

  test("names a folder whose name means something in a glob", async () => {
    await put("a{b}*/x.py", "plain/y.py");
    expect((await drafted()).code.map((f) => f.path)).toEqual(["a{b}*/x.py", "plain/y.py"]);
  });
});

describe("a draft that is told to allow more", () => {
  test("keeps what was written into it", async () => {
    await put("a.py");
    const text = parseManifestYaml("name: a\nversion: draft\ncode: [a.py]\nruntime: python3\n");
    const rule = {
      protocol: "GRPC" as const,
      target: "h:1",
      verb: "",
      path: "/a.B/C",
      when: "",
      scheme: "UNSPECIFIED" as const,
    };
    const yaml = redraft(text, [{ name: "use:b", rules: [rule] }]);
    expect((await measure(folder, yaml)).manifest).toMatchObject({
      name: "a",
      agentVersion: "draft",
      runtime: "python3",
      code: [{ path: "a.py" }],
      capabilities: [{ name: "use:b", rules: [rule] }],
    });
  });
});
