import { lookup, Resolver } from "node:dns/promises";
import { BlockList, isIP, isIPv4 } from "node:net";
import { normaliseHost } from "../../src/domain/host.ts";

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

/** An address of the machine itself, without brackets. */
export const isLoopback = (host: string): boolean => host === "::1" || /^127\.[0-9.]+$/.test(host);

/** Whether the target's own text says which address is meant. */
export function namesAddress(target: string): boolean {
  const { host } = splitTarget(target);
  return isIP(host) !== 0 || isLocalName(host);
}

/** An address in its one spelling, see host.ts, without brackets; what is none stays as it is. */
export function plain(address: string): string {
  const normal = normaliseHost(address);
  return typeof normal === "string" ? normal.replace(/^\[|\]$/g, "") : address;
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
  // This machine, and IPv4 addresses written as IPv6: compatible, translated, through a tunnel.
  ["::", 96],
  ["::ffff:0:0:0", 96],
  ["2001::", 32],
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

/** Networks of one's own, which a name that only exists at home may lead to. */
const PRIVATE = new BlockList();
for (const [network, prefix] of [
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
] as const) {
  PRIVATE.addSubnet(network, prefix, "ipv4");
}
PRIVATE.addSubnet("fc00::", 7, "ipv6");

/** In the private ranges, and yet the metadata service of a cloud: AWS's, Google's, Alibaba's. */
const METADATA = new BlockList();
METADATA.addAddress("fd00:ec2::254", "ipv6");
METADATA.addAddress("fd20:ce::254", "ipv6");
METADATA.addAddress("100.100.100.200", "ipv4");

/**
 * Names that nobody can register in the public DNS (reserved by ICANN, RFC 8375, RFC 6762, and what
 * Kubernetes serves), so that whoever answers for them is at home already.
 */
const isPrivateName = (host: string): boolean =>
  /\.(?:internal|home\.arpa|local|cluster\.local)$/.test(host);

/**
 * Whether an address that `host` resolved to must not be dialled: loopback, link-local, metadata,
 * multicast and reserved ones never; private ones only for names that are private themselves.
 */
export function isForbidden(address: string, host: string): boolean {
  if (isPrivateName(host) && inList(PRIVATE, address) && !inList(METADATA, address)) return false;
  const mapped = /^::ffff:([0-9.]+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return !isIPv4(mapped) || inList(FORBIDDEN, mapped);
  return inList(FORBIDDEN, address);
}

const inList = (list: BlockList, address: string): boolean =>
  list.check(address, isIPv4(address) ? "ipv4" : "ipv6");
