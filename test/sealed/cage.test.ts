import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer, type Server } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { tryCage } from "../../sidecar/cage/trial.ts";
import { lacks } from "../skips.ts";
import { as, folderOf, inCage, own, type User } from "./rig.ts";

/** Real cages, with real programs in them. */

const PROBE = join(import.meta.dirname, "probe.py");
const NOTHING = "0000000000000000";
const POWERLESS = {
  CapEff: NOTHING,
  CapPrm: NOTHING,
  CapInh: NOTHING,
  CapAmb: NOTHING,
  NoNewPrivs: "1",
  Seccomp: "2",
};

/** Listens on this machine's loopback, where nobody from a cage may come. */
let canary: Server;
let reached = 0;

beforeAll(async () => {
  canary = createServer((socket) => {
    reached++;
    socket.destroy();
  });
  canary.listen(0, "127.0.0.1");
  await once(canary, "listening");
});
afterAll(() => canary.close());

async function probe(user: User): Promise<{ saw: Record<string, unknown>; planted: number }> {
  const [cwd, outside, more] = [folderOf(user), folderOf(user), folderOf(user)];
  const hidden = join(cwd, "keys");
  await mkdir(hidden);
  await writeFile(join(hidden, "secret"), "");
  own(user, hidden);
  let planted = 0;
  const socket = createServer((s) => {
    planted++;
    s.destroy();
  });
  socket.listen(join(cwd, "planted.sock"));
  await once(socket, "listening");
  await chmod(join(cwd, "planted.sock"), 0o777);
  const told = {
    canary: (canary.address() as AddressInfo).port,
    exposed: 4321,
    planted: join(cwd, "planted.sock"),
    outside: join(outside, "written"),
    more: join(more, "written"),
    hidden,
  };
  // /tmp is fresh in there, so that what is to be refused lies elsewhere.
  const { out, err, code } = await inCage(
    user,
    ["/usr/bin/python3", PROBE, JSON.stringify({ ...told, outside: "/var/dragons-was-here" })],
    { cwd, writable: [more], hidden: [hidden], outside: [4321], shown: [PROBE] },
  );
  expect({ code, err }).toEqual({ code: 0, err: "" });
  expect([existsSync(join(cwd, "written")), existsSync(told.more)]).toEqual([true, true]);
  socket.close();
  for (const folder of [cwd, outside, more]) await rm(folder, { recursive: true });
  return { saw: JSON.parse(out) as Record<string, unknown>, planted };
}

/** What every program in a cage meets, whoever started it. */
const MET = {
  self: POWERLESS,
  first: POWERLESS,
  descriptors: [0, 1, 2],
  name: "payments.example 8080",
  ipv4: "203.0.113.7 81",
  ipv6: "2001:db8::5 82",
  metadata: "169.254.169.254 80",
  localhost: "ECONNREFUSED",
  exposed: "127.0.0.1 4321",
  quic: "EPERM",
  "other resolver": [0, 1],
  "other resolver by TCP": [0, 1],
  "TXT by TCP": [0, 0],
  TXT: [0, 0],
  HTTPS: [0, 0],
  planted: "EAFNOSUPPORT",
  abstract: "EAFNOSUPPORT",
  pair: "done",
  "pair of datagrams": "EPROTONOSUPPORT",
  vsock: "EAFNOSUPPORT",
  packet: "EAFNOSUPPORT",
  netfilter: "EPROTONOSUPPORT",
  io_uring: "ENOSYS",
  unshare: "EPERM",
  ptrace: "EPERM",
  core_pattern: "EROFS",
  outside: "EROFS",
  "working directory": "done",
  more: "done",
  hidden: [],
  "/run": [],
};

describe("a program in a cage", () => {
  test.skipIf(lacks("cage") || lacks("root"))(
    "that root started has no power of root's, and reaches the listener alone",
    async () => {
      const { saw, planted } = await probe("root");
      expect(saw).toMatchObject({ ...MET, "own number": 0 });
      expect([reached, planted]).toEqual([0, 0]);
    },
  );

  test.skipIf(lacks("cage"))(
    "that anybody started keeps its own number, and cannot touch who stays behind",
    async () => {
      const { saw, planted } = await probe("nobody");
      const number = as("nobody").uid ?? process.getuid?.();
      expect(saw).toMatchObject({ ...MET, "own number": number, "memory of the first": "EACCES" });
      expect([reached, planted]).toEqual([0, 0]);
    },
  );

  test.skipIf(lacks("cage"))(
    "reads and writes what it is given, and ends as by itself",
    async () => {
      const script = "read line; echo out $line; echo err >&2; kill -TERM $$";
      const ended = await inCage("nobody", ["sh", "-c", script], { input: "put in\n" });
      expect(ended).toEqual({ code: 143, out: "out put in\n", err: "err\n" });
    },
  );

  test.skipIf(lacks("cage"))("that is not there, or no program, ends with 127 or 126", async () => {
    const absent = await inCage("nobody", ["no-such-program"]);
    expect(absent).toMatchObject({ code: 127, err: "no-such-program: ENOENT\n" });
    const folder = await inCage("nobody", ["/etc/passwd"]);
    expect(folder).toMatchObject({ code: 126, err: "/etc/passwd: EACCES\n" });
  });

  test.skipIf(lacks("cage"))("may use unix sockets by path where that is allowed", async () => {
    const script = `import socket; s = socket.socket(socket.AF_UNIX); s.bind("x"); s.listen(); c = socket.socket(socket.AF_UNIX); c.connect("x")`;
    const ended = await inCage("nobody", ["/usr/bin/python3", "-c", script], { allowUnix: true });
    expect(ended).toEqual({ code: 0, out: "", err: "" });
  });
});

test.skipIf(lacks("cage"))("what was measured is what is seen, and is not written to", async () => {
  const cwd = folderOf("nobody");
  await writeFile(join(cwd, "agent.sh"), "echo measured; echo more >> agent.sh\n");
  own("nobody", join(cwd, "agent.sh"));
  const yaml =
    "name: a\nversion: v1\ncode: [agent.sh]\nconfig: []\nruntime: sh\ncapabilities: {}\n";
  const { out, err } = await inCage("nobody", ["sh", "agent.sh"], { cwd, yaml });
  expect(out).toBe("measured\n");
  expect(err).toMatch(/agent\.sh: (?:Read-only file system|Permission denied)/);
  expect(await readFile(join(cwd, "agent.sh"), "utf8")).toContain("written later");
  await rm(cwd, { recursive: true });
});

describe.skipIf(lacks("cage"))("the canary of `dragons doctor`", () => {
  afterEach(() => void vi.unstubAllEnvs());

  /** One of the programs that make cages is another than it should be. */
  function broken(wall: string): void {
    vi.stubEnv("PATH", `${join(import.meta.dirname, "broken", wall)}:${process.env.PATH}`);
  }

  test("finds every wall of a cage standing", async () => {
    expect(await tryCage()).toEqual({ faults: [] });
  });

  test("tells that what is dialled does not arrive, and that datagrams leave", async () => {
    broken("network");
    const { faults } = (await tryCage()) as { faults: string[] };
    expect(faults).toContain("network: a datagram leaves for 192.0.2.1:443");
    expect(faults.join()).toContain("network: 192.0.2.1:443 does not arrive");
  });

  test("tells that what is hidden can be seen", async () => {
    broken("files");
    expect(await tryCage()).toEqual({ faults: ["files: what is hidden can be seen"] });
  });
});
