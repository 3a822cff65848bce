import { isIP, isIPv6 } from "node:net";
import { EXIT, Failure } from "../failure.ts";

/** Whose traffic is to be handed to a gateway, and what else it may do. */
export interface Gateway {
  /** The port of `dragons sidecar --gateway`. */
  readonly port: number;
  /** Everything that comes in by these: of a pod's or a virtual machine's host side. */
  readonly interfaces: readonly string[];
  /** Everything that leaves this network namespace, but what this user sends: the sidecar's. null: not that. */
  readonly exceptUid: number | null;
  /** Resolvers that it may ask by UDP. */
  readonly dns: readonly string[];
}

/** A mark and a table that nobody else is likely to use: the forward proxy's port. */
const MARK = "0x7071";
const TABLE = 7071;
const NEIGHBOURS = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit }";

/** @throws Failure naming what cannot be put into rules. */
function checked({ port, interfaces, exceptUid, dns }: Gateway): void {
  const wrong = (what: string) => new Failure(EXIT.usage, what);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw wrong(`--port: ${port} is not from 1 to 65535`);
  }
  if (interfaces.length > 0 === (exceptUid !== null)) {
    throw wrong("--interface or --except-uid, one of them: whose traffic is it?");
  }
  // They are pasted into a shell.
  const odd = interfaces.find((name) => !/^[A-Za-z0-9_][A-Za-z0-9._-]{0,14}$/.test(name));
  if (odd !== undefined) throw wrong(`--interface: ${odd} is not the name of one`);
  if (exceptUid !== null && !(Number.isInteger(exceptUid) && exceptUid >= 0)) {
    throw wrong("--except-uid: is not a number; id -u dragons says one");
  }
  const nowhere = dns.find((address) => isIP(address) === 0);
  if (nowhere !== undefined) throw wrong(`--dns: ${nowhere} is not an address`);
}

/**
 * A script for a shell with CAP_NET_ADMIN: policy routes, and an nftables table that is exchanged as a
 * whole. TCP goes to the gateway, look-ups to the resolvers that are named, and everything else nowhere.
 */
export function gatewayRules(gateway: Gateway): string {
  checked(gateway);
  const { interfaces, exceptUid } = gateway;
  const chains = exceptUid === null ? behind(gateway, interfaces) : beside(gateway, exceptUid);
  return [
    "#!/bin/sh",
    "set -e",
    ...routes("del").map((line) => `${line} 2>/dev/null || true`),
    ...routes("add"),
    "nft -f - <<'RULES'",
    "table inet dragons_gateway",
    "delete table inet dragons_gateway",
    "table inet dragons_gateway {",
    ...chains.map((line) => (line === "" ? "" : `  ${line}`)),
    "}",
    "RULES",
    "",
  ].join("\n");
}

/** What takes them back. */
export const gatewayRemoval = (): string =>
  [
    "#!/bin/sh",
    ...routes("del").map((line) => `${line} 2>/dev/null || true`),
    "nft delete table inet dragons_gateway",
    "",
  ].join("\n");

/** What is marked is this machine's own, wherever it is addressed to. */
const routes = (verb: "add" | "del"): string[] =>
  ["-4", "-6"].flatMap((family) => [
    `ip ${family} rule ${verb} fwmark ${MARK} lookup ${TABLE}`,
    `ip ${family} route ${verb} local default dev lo table ${TABLE}`,
  ]);

/** Of whoever is behind an interface. The sidecar's own traffic leaves, and is none that comes in. */
function behind({ port, dns }: Gateway, interfaces: readonly string[]): string[] {
  const theirs = `iifname { ${interfaces.join(", ")} }`;
  return [
    "chain capture {",
    "  type filter hook prerouting priority mangle; policy accept;",
    `  ${theirs} meta l4proto tcp meta mark set ${MARK} tproxy to :${port} accept`,
    "}",
    "chain arrive {",
    "  type filter hook input priority filter; policy accept;",
    `  ${theirs} meta mark ${MARK} meta l4proto tcp accept`,
    `  ${theirs} ${NEIGHBOURS} accept`,
    ...lookups(dns, `${theirs} `),
    `  ${theirs} drop`,
    "}",
    "chain pass {",
    "  type filter hook forward priority filter; policy accept;",
    ...lookups(dns, `${theirs} `),
    `  ${theirs} drop`,
    "}",
  ];
}

/** Of everybody in this namespace but the sidecar, whose own traffic would come back to it for ever. */
function beside({ port, dns }: Gateway, uid: number): string[] {
  return [
    "chain divert {",
    "  type route hook output priority mangle; policy accept;",
    `  meta skuid ${uid} return`,
    '  oifname "lo" return',
    `  meta l4proto tcp meta mark set ${MARK}`,
    "}",
    "chain capture {",
    "  type filter hook prerouting priority mangle; policy accept;",
    `  iifname "lo" meta mark ${MARK} meta l4proto tcp tproxy to :${port} accept`,
    "}",
    "chain leave {",
    "  type filter hook output priority filter; policy accept;",
    `  meta skuid ${uid} accept`,
    `  meta mark ${MARK} accept`,
    '  oifname "lo" accept',
    `  ${NEIGHBOURS} accept`,
    ...lookups(dns, ""),
    "  drop",
    "}",
  ];
}

const lookups = (dns: readonly string[], whose: string): string[] =>
  dns.map((a) => `  ${whose}${isIPv6(a) ? "ip6" : "ip"} daddr ${a} udp dport 53 accept`);
