import { lookup, Resolver } from "node:dns/promises";
import { BlockList, isIP, isIPv4 } from "node:net";

/** `host:port` apart. The host of an IPv6 address comes without its brackets. */
export function splitTarget(target: string): { host: string; port: number } {
  const colon = target.lastIndexOf(":");
  const host = target.slice(0, colon);
  return {
    host: host.startsWith("[") ? host.slice(1, -1) : host,
    port: Number(target.slice(colon + 1)),
  };
}

/** The name itself says that this machine is meant. */
export const isLocalName = (host: string): boolean =>
  host === "localhost" || host.endsWith(".localhost");

/** Whether the target's own text says which address is meant. */
export function namesAddress(target: string): boolean {
  const { host } = splitTarget(target);
  return isIP(host) !== 0 || isLocalName(host);
}

/** Addresses of one name, in the order to try them. */
export type Resolve = (host: string) => Promise<string[]>;

/**
 * DNS by c-ares, whose waiting does not occupy the thread pool that file syncs need. /etc/hosts is
 * read for localhost names alone: what else stands there may be private, and is not asked.
 */
export function dnsResolve(): Resolve {
  const resolver = new Resolver({ timeout: 2000, tries: 2 });
  return async (host) => {
    if (isLocalName(host)) {
      return (await lookup(host, { all: true, verbatim: false })).map((a) => a.address);
    }
    const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
    const found = answers.flatMap((a) => (a.status === "fulfilled" ? a.value : []));
    if (found.length > 0) return found;
    throw (answers[0] as PromiseRejectedResult).reason;
  };
}

/** Addresses that a public name must not lead to: this machine, its networks, cloud metadata. */
const FORBIDDEN = new BlockList();
for (const [network, prefix] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
] as const) {
  FORBIDDEN.addSubnet(network, prefix, "ipv4");
}
for (const [network, prefix] of [
  ["::", 128],
  ["::1", 128],
  ["64:ff9b::", 96],
  ["64:ff9b:1::", 48],
  ["2002::", 16],
  ["fc00::", 7],
  ["fe80::", 10],
  ["fec0::", 10],
  ["ff00::", 8],
] as const) {
  FORBIDDEN.addSubnet(network, prefix, "ipv6");
}

/** Whether a resolved address is loopback, private, link-local, metadata, multicast or reserved. */
export function isForbidden(address: string): boolean {
  if (isIPv4(address)) return FORBIDDEN.check(address, "ipv4");
  const mapped = /^::ffff:([0-9.]+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return !isIPv4(mapped) || FORBIDDEN.check(mapped, "ipv4");
  return FORBIDDEN.check(address, "ipv6");
}
