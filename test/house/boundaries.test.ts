import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { describe, expect, test } from "vitest";

/**
 * Who may import whom. Anything not listed is an error: processes meet only through proto, the
 * domain stays pure, and each heavy library has one door.
 */
const HOME = join(import.meta.dirname, "../..");
const ROOMS: Record<string, { rooms: string[]; packages: string[]; node: boolean }> = {
  "src/domain": { rooms: ["src/domain"], packages: [], node: false },
  "src/gen": { rooms: ["src/gen"], packages: ["@bufbuild/protobuf"], node: false },
  "src/h2": { rooms: ["src/h2", "src/domain", "src/native"], packages: [], node: true },
  "src/wire": {
    rooms: ["src/wire", "src/domain", "src/gen", "src/h2"],
    packages: ["@bufbuild/protobuf"],
    node: false,
  },
  "src/storage": { rooms: ["src/storage", "src/domain"], packages: [], node: true },
  "src/native": { rooms: ["src/native", "src/domain"], packages: [], node: true },
  "src/verifier": { rooms: ["src/verifier", "src/domain"], packages: [], node: false },
  "src/console": {
    rooms: ["src/console", "src/domain", "src/gen", "src/verifier"],
    packages: [],
    node: false,
  },
  "src/control": {
    rooms: [
      "src/control",
      "src/domain",
      "src/wire",
      "src/gen",
      "src/storage",
      "src/verifier",
      "src/native",
    ],
    packages: ["@bufbuild/protobuf"],
    node: true,
  },
  "src/cli": {
    rooms: [
      "src/cli",
      "src/domain",
      "src/wire",
      "src/gen",
      "src/storage",
      "src/verifier",
      "src/native",
    ],
    packages: ["@bufbuild/protobuf", "commander"],
    node: true,
  },
  sidecar: {
    rooms: [
      "sidecar",
      "src/domain",
      "src/h2",
      "src/wire",
      "src/gen",
      "src/storage",
      "src/verifier",
      "src/native",
    ],
    packages: ["@bufbuild/protobuf"],
    node: true,
  },
};

/** Packages and rooms that come in by one file alone. */
const DOORS: Record<string, Record<string, string[]>> = {
  "src/domain/noble.ts": { packages: ["@noble/ed25519", "@noble/hashes"] },
  "src/wire/grpc.ts": { packages: ["@grpc/grpc-js"] },
  "src/storage/lmdb.ts": { packages: ["lmdb"] },
  "src/native/libc.ts": { packages: ["koffi"] },
  "src/native/ids.ts": { packages: ["uuidv7"] },
  "src/native/strict-yaml.ts": { packages: ["yaml"] },
  // The composition root starts each process by its own entry.
  "src/cli/commands/processes.ts": { rooms: ["src/control", "sidecar"] },
};

const sources = (folder: string): string[] =>
  readdirSync(join(HOME, folder), { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile() && e.name.endsWith(".ts") && !e.name.endsWith(".test.ts"))
    .map((e) => relative(HOME, join(e.parentPath, e.name)))
    .sort();

const roomOf = (file: string): string | undefined =>
  Object.keys(ROOMS)
    .filter((room) => file.startsWith(`${room}/`))
    .sort((a, b) => b.length - a.length)[0];

const IMPORT =
  /(?:^|[\s;])(?:import|export)\s[^"']*?from\s*["']([^"']+)["']|(?:^|[\s;(])import\s*\(?\s*["']([^"']+)["']/g;

function violations(file: string): string[] {
  const room = ROOMS[roomOf(file) as string];
  if (room === undefined) return [`${file}: stands in no room`];
  const door = DOORS[file] ?? {};
  const found: string[] = [];
  const text = readFileSync(join(HOME, file), "utf8");
  for (const match of text.matchAll(IMPORT)) {
    const target = (match[1] ?? match[2]) as string;
    if (target.startsWith(".")) {
      const path = normalize(join(dirname(file), target));
      const to = roomOf(path);
      const allowed = [...room.rooms, ...(door.rooms ?? [])];
      if (to === undefined || !allowed.includes(to)) found.push(`${file} → ${path}`);
    } else if (target.startsWith("node:")) {
      if (!room.node) found.push(`${file} → ${target}`);
    } else {
      const name = target
        .split("/")
        .slice(0, target.startsWith("@") ? 2 : 1)
        .join("/");
      const allowed = [...room.packages, ...(door.packages ?? [])];
      if (!allowed.includes(name)) found.push(`${file} → ${name}`);
    }
  }
  return found;
}

describe("the house keeps its walls", () => {
  const files = [...sources("src"), ...sources("sidecar")];

  test("every import is in the table", () => {
    expect(files.length).toBeGreaterThan(20);
    expect(files.flatMap(violations)).toEqual([]);
  });

  test("domain and verifier know no clock, no chance, no Buffer", () => {
    const banned =
      /\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b|\bBuffer\b|\bprocess\.|\bcrypto\.getRandomValues\b|\bsetTimeout\b/;
    const found = files
      .filter((f) => f.startsWith("src/domain/") || f.startsWith("src/verifier/"))
      .filter((f) => banned.test(withoutComments(readFileSync(join(HOME, f), "utf8"))));
    expect(found).toEqual([]);
  });

  test("only the gate mints permits", () => {
    const found = files.filter(
      (f) =>
        !f.startsWith("sidecar/gate/") &&
        readFileSync(join(HOME, f), "utf8").includes("mintPermit"),
    );
    expect(found).toEqual([]);
  });

  test("the sidecar speaks HTTP by itself: node's own servers and clients have no part in a call", () => {
    const found = files
      .filter((f) => f.startsWith("sidecar/"))
      .filter((f) => /["']node:https?2?["']/.test(readFileSync(join(HOME, f), "utf8")));
    expect(found).toEqual([]);
  });

  test("gate, ledger and exchange know no HTTP", () => {
    const found = files
      .filter((f) => /^sidecar\/(gate|ledger)\//.test(f) || f === "sidecar/adapters/exchange.ts")
      .filter((f) =>
        /["']node:(http2?|https|tls|net)["']/.test(readFileSync(join(HOME, f), "utf8")),
      )
      // The ledger's lock is a socket that dies with its process; it speaks to nobody.
      .filter((f) => f !== "sidecar/ledger/lock.ts");
    expect(found).toEqual([]);
  });
});

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|\s)\/\/.*$/gm, "$1");
}
