/**
 * The network of a cage: one interface, its own loopback, on which every address of the world lies.
 * What an agent dials arrives at our listener with the address that was dialled; nothing leaves, since
 * there is no way out.
 */

/** Where the transparent listener is, inside. */
export const LISTEN_PORT = 15_001;
/** Where names are looked up, inside. */
export const DNS_PORT = 53;
/**
 * The cage's own addresses beside loopback: from where connections to the world come. Look-ups ask for
 * IPv4 addresses only where a machine has one that is not loopback (AI_ADDRCONFIG). Of ranges that are
 * nobody's: RFC 2544, and RFC 4193 with a prefix drawn by lot.
 */
const OWN_IPV4 = "198.19.255.254";
const OWN_IPV6 = "fd9a:41c6:0b77::1";

/** Commands for `ip -batch`. */
export const addresses = (ipv6: boolean): string =>
  [
    "link set lo up",
    `addr add ${OWN_IPV4}/32 dev lo`,
    `route add local 0.0.0.0/0 dev lo src ${OWN_IPV4}`,
    ...(ipv6
      ? [`addr add ${OWN_IPV6}/128 dev lo nodad`, `route add local ::/0 dev lo src ${OWN_IPV6}`]
      : []),
    "",
  ].join("\n");

/**
 * Rules for `nft -f -`. TCP to anywhere is handed to our listener; look-ups are turned to ours,
 * whomever they ask; what the processes of the cage say to each other on loopback stays theirs;
 * everything else is refused.
 *
 * @param outside ports of loopback that stand for the host's: those that the manifest names.
 */
export function rules(outside: readonly number[]): string {
  const ports = [DNS_PORT, ...outside].join(", ");
  return `table inet dragons {
  chain arriving {
    type filter hook prerouting priority mangle; policy accept;
    ip daddr { 127.0.0.0/8, ${OWN_IPV4} } tcp dport != { ${ports} } accept
    ip6 daddr { ::1, ${OWN_IPV6} } tcp dport != { ${ports} } accept
    meta l4proto tcp tproxy to :${LISTEN_PORT} accept
  }
  chain lookups {
    type nat hook output priority -100;
    udp dport ${DNS_PORT} redirect to :${DNS_PORT}
  }
  chain leaving {
    type filter hook output priority filter; policy drop;
    meta l4proto tcp accept
    meta l4proto udp ip daddr { 127.0.0.0/8, ${OWN_IPV4} } accept
    meta l4proto udp ip6 daddr { ::1, ${OWN_IPV6} } accept
    reject
  }
}
`;
}
