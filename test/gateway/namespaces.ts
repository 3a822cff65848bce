import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Attempt } from "./agent.ts";

/**
 * Three network namespaces in a row: a `world` with public addresses of both families, a machine in the
 * `middle` that forwards, and `behind` it one that routes everything to it.
 */
export class Namespaces {
  readonly #id = `dragons-${process.pid}`;
  readonly #children: Talker[] = [];

  static open(): Namespaces {
    const spaces = new Namespaces();
    try {
      spaces.#wire();
    } catch (error) {
      spaces.#remove();
      throw error;
    }
    return spaces;
  }

  name(place: Place): string {
    return `${this.#id}-${place}`;
  }

  #wire(): void {
    for (const place of PLACES) {
      ip(`netns add ${this.name(place)}`);
      // Nobody else is there whose addresses these could be.
      const accept = "net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0";
      this.sh(place, `sysctl -q -w ${accept}`);
    }
    const [world, middle, behind] = PLACES.map((place) => this.name(place));
    ip(`-n ${world} link add out type veth peer name out netns ${middle}`);
    ip(`-n ${behind} link add eth0 type veth peer name vm0 netns ${middle}`);
    const lines: [string | undefined, string][] = [
      [world, "addr add 10.97.0.1/30 dev out"],
      [world, "addr add 2001:db8:97::1/64 dev out nodad"],
      [world, "addr add 203.0.113.7/32 dev lo"],
      [world, "addr add 203.0.113.8/32 dev lo"],
      [world, "addr add 2001:db8:5::7/128 dev lo nodad"],
      [middle, "addr add 10.97.0.2/30 dev out"],
      [middle, "addr add 2001:db8:97::2/64 dev out nodad"],
      [middle, "addr add 10.99.0.1/24 dev vm0"],
      [middle, "addr add 2001:db8:99::1/64 dev vm0 nodad"],
      [behind, "addr add 10.99.0.2/24 dev eth0"],
      [behind, "addr add 2001:db8:99::2/64 dev eth0 nodad"],
    ];
    for (const [space, line] of lines) ip(`-n ${space} ${line}`);
    for (const [space, links] of [
      [world, "lo out"],
      [middle, "lo out vm0"],
      [behind, "lo eth0"],
    ] as const) {
      for (const link of links.split(" ")) ip(`-n ${space} link set ${link} up`);
    }
    ip(`-n ${world} route add default via 10.97.0.2`);
    ip(`-n ${world} -6 route add default via 2001:db8:97::2`);
    ip(`-n ${middle} route add default via 10.97.0.1`);
    ip(`-n ${middle} -6 route add default via 2001:db8:97::1`);
    ip(`-n ${behind} route add default via 10.99.0.1`);
    ip(`-n ${behind} -6 route add default via 2001:db8:99::1`);
    this.sh("middle", "sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
  }

  /** @throws when it ends with another code than 0 */
  sh(place: Place, script: string): string {
    const run = ["netns", "exec", this.name(place), "sh"];
    return execFileSync("ip", run, { input: script, encoding: "utf8" });
  }

  /** A script of this folder that talks in lines of JSON. @param as words before `node`. */
  async start(place: Place, script: string, options: object = {}, as: string[] = []) {
    const talker = new Talker(this.#spawn(place, script, JSON.stringify(options), as));
    this.#children.push(talker);
    return talker;
  }

  /** What came of each attempt, in their order. */
  async tries(place: Place, attempts: readonly Attempt[], as: string[] = []): Promise<string[]> {
    const child = this.#spawn(place, "agent.ts", JSON.stringify(attempts), as);
    const [line] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
    return JSON.parse(line) as string[];
  }

  #spawn(place: Place, script: string, argument: string, as: readonly string[]) {
    const node = [...as, process.execPath, join(import.meta.dirname, script), argument];
    return spawn("ip", ["netns", "exec", this.name(place), ...node], {
      stdio: ["pipe", "pipe", "inherit"],
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#children.map((child) => child.close()));
    this.#remove();
  }

  #remove(): void {
    for (const place of PLACES) {
      try {
        ip(`netns del ${this.name(place)}`);
      } catch {
        // It was never made.
      }
    }
  }
}

const PLACES = ["world", "middle", "behind"] as const;
export type Place = (typeof PLACES)[number];

const ip = (line: string): string =>
  execFileSync("ip", line.split(" "), { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

type Child = ChildProcess & {
  readonly stdin: NonNullable<ChildProcess["stdin"]>;
  readonly stdout: NonNullable<ChildProcess["stdout"]>;
};

/** A process that answers each line with one of JSON, and has said one when it was ready. */
export class Talker {
  readonly #child: Child;
  readonly #lines: AsyncIterator<string>;

  constructor(child: Child) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  async next<T>(): Promise<T> {
    const line = await this.#lines.next();
    if (line.done === true) throw new Error("it ended");
    return JSON.parse(line.value) as T;
  }

  ask<T>(line: string): Promise<T> {
    this.#child.stdin.write(`${line}\n`);
    return this.next<T>();
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const gone = once(this.#child, "exit");
    this.#child.stdin.end();
    await gone;
  }
}
