import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Namespaces } from "../gateway/namespaces.ts";
import { lacks } from "../skips.ts";
import type { EscapeOptions, EscapeReport } from "./escape-host.ts";
import { ESCAPES, type Escape } from "./escapes.ts";
import { folderOf, own, PLAIN, type User } from "./rig.ts";

/**
 * A hostile program in a cage, beside a machine that has a world to reach: nothing that it tries comes to
 * anybody without leave, and whatever reached the sidecar has a receipt.
 */

const PROGRAM = join(import.meta.dirname, "escape.py");
const CANARY = 4999;
const rows: readonly Escape[] = Object.values(ESCAPES).flat();

let spaces: Namespaces;
beforeAll(async () => {
  if (lacks("cage") || lacks("netns")) return;
  spaces = Namespaces.open();
  await spaces.start("world", "world.ts").then((world) => world.next());
  spaces.sh("world", WATCH);
});
afterAll(async () => {
  if (!lacks("cage") && !lacks("netns")) await spaces.close();
});

/** Counts whatever comes into the world, whether or not anybody listens there. */
const WATCH = `nft -f - <<'RULES'
table inet watch {
  counter connections {}
  counter datagrams {}
  counter pings {}
  counter others {}
  chain arriving {
    type filter hook input priority filter; policy accept;
    iifname != "out" accept
    meta l4proto tcp tcp flags & (syn | ack) == syn counter name connections
    meta l4proto udp counter name datagrams
    icmp type echo-request counter name pings
    icmpv6 type echo-request counter name pings
    meta l4proto != { tcp, udp, icmp, ipv6-icmp } counter name others
  }
}
RULES`;

/** How many packets of each kind there were since this was asked last. */
function arrived(): Record<string, number> {
  const said = JSON.parse(spaces.sh("world", "nft -j reset counters")) as {
    nftables: { counter?: { name: string; packets: number } }[];
  };
  const counters = said.nftables.flatMap(({ counter }) => (counter === undefined ? [] : [counter]));
  return Object.fromEntries(counters.map(({ name, packets }) => [name, packets]));
}

async function tried(user: User): Promise<{
  outcomes: Record<string, string>;
  report: EscapeReport;
}> {
  const [cwd, scratch] = [folderOf(user), folderOf(user)];
  const folder = mkdtempSync(join(tmpdir(), "dragons-escape-"));
  own(user, folder);
  const options: EscapeOptions = {
    program: PROGRAM,
    cwd,
    scratch,
    report: join(folder, "report"),
    canary: CANARY,
  };
  const as = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  const words = [
    ...["netns", "exec", spaces.name("middle")],
    ...(user === "nobody" ? as : []),
    ...[process.execPath, join(import.meta.dirname, "escape-host.ts"), JSON.stringify(options)],
  ];
  // One descriptor too many, which is not to be found inside.
  const child = spawn("ip", words, { cwd, env: PLAIN, stdio: ["ignore", "pipe", "pipe", "pipe"] });
  const [out, err, [code]] = await Promise.all([
    text(child.stdout as NonNullable<typeof child.stdout>),
    text(child.stderr as NonNullable<typeof child.stderr>),
    once(child, "close"),
  ]);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  const report = JSON.parse(readFileSync(options.report, "utf8")) as EscapeReport;
  for (const made of [cwd, scratch, folder]) await rm(made, { recursive: true });
  return { outcomes: JSON.parse(out) as Record<string, string>, report };
}

/** How many receipts there must be for each reason, at the least. */
function owed(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { receipt } of rows) {
    if (receipt !== null) counts.set(receipt, (counts.get(receipt) ?? 0) + 1);
  }
  return counts;
}

test("every row is tried, and every row that is tried is in the table, once", () => {
  const names = [...readFileSync(PROGRAM, "utf8").matchAll(/\brow\("([^"]+)"\)/g)].map(
    (m) => m[1] as string,
  );
  expect(names.toSorted()).toEqual(rows.map((r) => r.row).toSorted());
  expect(new Set(names).size).toBe(names.length);
});

describe.skipIf(lacks("cage") || lacks("netns")).each(["root", "nobody"] as const)(
  "a hostile program that %s started in a cage",
  (user) => {
    test("reaches nobody without leave, and leaves a receipt with whoever it did reach", async () => {
      arrived();
      const { outcomes, report } = await tried(user);
      const odd = rows.filter(({ row, outcome }) => {
        const said = outcomes[row] ?? "was not tried";
        return typeof outcome === "string" ? said !== outcome : !outcome.test(said);
      });
      expect(odd.map(({ row }) => [row, outcomes[row]])).toEqual([]);
      expect(Object.keys(outcomes).toSorted()).toEqual(rows.map((r) => r.row).toSorted());
      // The world saw the one thing that was permitted, and this machine's own listeners nobody.
      expect(arrived()).toEqual({ connections: 1, datagrams: 0, pings: 0, others: 0 });
      expect(report.contacts).toEqual([]);
      const permitted = report.receipts.filter((r) => r.verdict === "COMPLETED");
      expect(permitted).toMatchObject([{ target: "world.example:8080" }]);
      for (const [reason, count] of owed()) {
        const has = report.receipts.filter((r) => r.reason === reason).length;
        expect({ reason, missing: Math.max(0, count - has) }).toEqual({ reason, missing: 0 });
      }
    }, 120_000);
  },
);
